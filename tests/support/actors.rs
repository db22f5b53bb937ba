//! People and machines with their credentials, entered past the front door: logging in is tested
//! in `api/auth.rs`, everybody else starts logged in. Tokens are signed anew for each request, so
//! that a test may move the clock as far as it likes.

use std::ops::Deref;
use std::sync::Arc;

use iparking::auth::tokens::AccessTokens;
use iparking::auth::{self, Principal, Role, RoleName, store};
use iparking::kernel::ids::{LoginId, OperatorId};
use iparking::operators::{self, NewStaff};
use iparking::platform::App;
use reqwest::Method;
use serde_json::json;

use super::app::TestApp;
use super::client::{Client, Request};

/// Someone with credentials.
#[derive(Clone)]
pub struct Actor {
    pub principal: Principal,
    client: Client,
    credential: Credential,
}

#[derive(Clone)]
enum Credential {
    Key(String),
    Signed(App, Arc<AccessTokens>),
}

impl Actor {
    /// A token or key that is good now.
    pub fn token(&self) -> String {
        match &self.credential {
            Credential::Key(key) => key.clone(),
            Credential::Signed(app, tokens) => {
                tokens.sign(&self.principal, app.now(), app.new_id()).unwrap()
            }
        }
    }

    /// The same actor at another server.
    pub fn at(&self, client: &Client) -> Actor {
        Actor { client: client.clone(), ..self.clone() }
    }

    pub fn request(&self, method: Method, path: &str) -> Request {
        self.client.request(method, path).token(&self.token())
    }

    pub fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> Request {
        self.request(Method::POST, path)
    }

    pub fn put(&self, path: &str) -> Request {
        self.request(Method::PUT, path)
    }

    pub fn patch(&self, path: &str) -> Request {
        self.request(Method::PATCH, path)
    }

    pub fn delete(&self, path: &str) -> Request {
        self.request(Method::DELETE, path)
    }
}

/// A driver who is logged in.
#[derive(Clone)]
pub struct Driver {
    actor: Actor,
    pub id: iparking::kernel::ids::DriverId,
    pub login: LoginId,
    pub phone: String,
}

impl Deref for Driver {
    type Target = Actor;

    fn deref(&self) -> &Actor {
        &self.actor
    }
}

impl Driver {
    /// The same driver at another server.
    pub fn at(&self, client: &Client) -> Driver {
        Driver { actor: self.actor.at(client), ..self.clone() }
    }

    /// Adds a vehicle; gives its id.
    pub async fn add_vehicle(&self, plate: &str, class: &str) -> String {
        let body = json!({"plate": plate, "vehicle_class": class});
        let answer = self.post("/v1/me/vehicles").json(body).send().await.expect(201);
        answer.str("id").to_owned()
    }

    /// Adds a car with a plate that no other car in the test run has.
    pub async fn add_car(&self) -> String {
        self.add_vehicle(&random_plate(), "car").await
    }
}

/// A car's plate, one of 20 million.
pub fn random_plate() -> String {
    let letters = b"ABCDEFGHKLMNPSTUVXYZ";
    let letter = char::from(letters[rand::random_range(0..letters.len())]);
    let province = rand::random_range(14..=39);
    format!(
        "{province}{letter}-{:03}.{:02}",
        rand::random_range(1..1_000),
        rand::random_range(0..100)
    )
}

/// A mobile number that no other driver of the test has.
pub fn random_phone() -> String {
    format!("+849{:08}", rand::random_range(0..100_000_000))
}

impl TestApp {
    /// A new driver.
    pub async fn driver(&self) -> Driver {
        self.driver_with_phone(&random_phone()).await
    }

    /// The driver with this number.
    pub async fn driver_with_phone(&self, phone: &str) -> Driver {
        let app = &self.app;
        let now = app.now();
        let login = app.new_id::<LoginId>();
        let mut conn = self.pool().acquire().await.unwrap();
        let id = store::driver_with_phone(&mut conn, app.new_id(), phone, now).await.unwrap();
        store::insert_login(&mut conn, login, store::Owner::Driver(id), now).await.unwrap();
        let principal = Principal::Driver(auth::Driver { id, login });
        Driver { actor: self.signed(principal), id, login, phone: phone.to_owned() }
    }

    /// A new operator.
    pub async fn operator(&self) -> OperatorId {
        let id = self.app.new_id::<OperatorId>();
        let code = format!("test-{:016x}", rand::random::<u64>());
        sqlx::query(
            "insert into operators (id, code, name, tax_code, created_at) \
             values ($1, $2, 'Khai thác thử', '0100000001', now())",
        )
        .bind(id.get())
        .bind(code)
        .execute(self.pool())
        .await
        .unwrap();
        id
    }

    pub async fn manager(&self, operator: OperatorId) -> Actor {
        self.staff(Role::Manager(operator)).await
    }

    pub async fn attendant(&self, operator: OperatorId) -> Actor {
        self.staff(Role::Attendant(operator)).await
    }

    pub async fn finance(&self) -> Actor {
        self.staff(Role::Finance).await
    }

    async fn staff(&self, role: Role) -> Actor {
        let app = &self.app;
        let new = NewStaff {
            username: format!("staff-{:016x}", rand::random::<u64>()),
            password: String::new(),
            role: role.name(),
            operator_id: role.operator_id(),
        };
        let login = app.new_id::<LoginId>();
        let mut conn = self.pool().acquire().await.unwrap();
        // No password fits this hash, and making a real one is slow.
        let id = operators::store::put_staff(&mut conn, app.new_id(), &new, "none", app.now())
            .await
            .unwrap();
        store::insert_login(&mut conn, login, store::Owner::Staff(id, role), app.now())
            .await
            .unwrap();
        self.signed(Principal::Staff(auth::Staff { id, login, role }))
    }

    /// Staff with a password, for logging in by the front door.
    pub async fn employ(
        &self,
        username: &str,
        password: &str,
        role: RoleName,
        operator_id: Option<OperatorId>,
    ) {
        let new = NewStaff {
            username: username.to_owned(),
            password: password.to_owned(),
            role,
            operator_id,
        };
        operators::service::employ(&self.app, new).await.unwrap();
    }

    /// A machine of an operator, with its key.
    pub async fn device(&self, operator: OperatorId) -> Actor {
        let key = operators::service::new_api_key(&self.app, operator, "test").await.unwrap();
        let mut conn = self.pool().acquire().await.unwrap();
        let device = store::device_by_key(&mut conn, &key.hash()).await.unwrap().unwrap();
        Actor {
            principal: Principal::Device(device),
            client: self.client.clone(),
            credential: Credential::Key(key.expose()),
        }
    }

    fn signed(&self, principal: Principal) -> Actor {
        let tokens = Arc::new(self.access_tokens());
        let credential = Credential::Signed(self.app.clone(), tokens);
        Actor { principal, client: self.client.clone(), credential }
    }

    /// The installation's own keys, for signing what a test needs.
    pub fn access_tokens(&self) -> AccessTokens {
        let config = &self.app.config().auth;
        let pem = std::fs::read_to_string(config.keys_dir.join("2026-01.pem")).unwrap();
        AccessTokens::new([("2026-01", pem.as_str())], &config.issuer, config.access_token_s)
            .unwrap()
    }
}
