//! The contract itself: it has every route and no other, its codes are those of the code table and
//! of `docs/ERRORS.md`, its examples keep its own rules, and it catches an answer that breaks it.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::introspection::IntrospectionTree;
use actix_web::{App, HttpResponse, web};
use iparking::web::problem::Code;
use serde_json::{Value, json};
use strum::IntoEnumIterator;

use crate::support::contract::{Contract, documented};

/// A route as method and path, parameters without their names.
type Routes = BTreeSet<(String, String)>;

const ERRORS_MD: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ERRORS.md"));

#[actix_web::test]
async fn every_route_is_in_the_contract_and_the_other_way_round() {
    let contract: Routes = Contract::load()
        .operations
        .iter()
        .map(|operation| (operation.method.clone(), nameless(&operation.template)))
        .collect();
    let served = served_routes().await;
    let missing: Vec<_> = contract.difference(&served).collect();
    let undocumented: Vec<_> = served.difference(&contract).collect();
    assert!(
        missing.is_empty() && undocumented.is_empty(),
        "in openapi.yaml, not served: {missing:#?}\nserved, not in openapi.yaml: {undocumented:#?}"
    );
}

/// Asks the library itself which routes `routes::configure` registers.
async fn served_routes() -> Routes {
    async fn tree(tree: web::Data<IntrospectionTree>) -> HttpResponse {
        HttpResponse::Ok().content_type("application/json").body(tree.report_as_json())
    }
    let app = App::new()
        .configure(iparking::routes::configure)
        .service(web::resource("/introspection").route(web::get().to(tree)));
    let app = actix_web::test::init_service(app).await;
    let request = actix_web::test::TestRequest::get().uri("/introspection").to_request();
    let report: Vec<Value> = actix_web::test::call_and_read_body_json(&app, request).await;
    let mut routes = Routes::new();
    for node in report.iter().filter(|node| node["full_path"] != "/introspection") {
        let path = node["full_path"].as_str().unwrap();
        if node["resource_type"] != "resource" {
            continue;
        }
        assert!(node["potentially_unreachable"].is_null(), "{path} is shadowed: {node:#}");
        let methods = node["methods"].as_array().unwrap();
        assert!(!methods.is_empty(), "{path} takes any method");
        for method in methods {
            routes.insert((method.as_str().unwrap().to_owned(), nameless(path)));
        }
    }
    routes
}

/// `/v1/lots/{lot_id}` and `/v1/lots/{id:[^/]+}` are both `/v1/lots/{}`.
fn nameless(path: &str) -> String {
    let plain = |segment: &str| if segment.starts_with('{') { "{}".into() } else { segment.into() };
    path.split('/').map(plain).collect::<Vec<String>>().join("/")
}

#[test]
fn the_three_lists_of_problem_codes_are_one() {
    let table: BTreeMap<String, (u16, String)> = Code::iter()
        .map(|code| (code.as_str().into(), (code.status().as_u16(), code.title().into())))
        .collect();
    let documented: BTreeMap<String, (u16, String)> = ERRORS_MD
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|row| {
            let cells: Vec<&str> = row.split(" | ").map(str::trim).collect();
            assert_eq!(cells.len(), 5, "docs/ERRORS.md: {row}");
            (cells[0].trim_end_matches('`').into(), (cells[1].parse().unwrap(), cells[2].into()))
        })
        .collect();
    let odd: Vec<_> =
        table.iter().filter(|(code, row)| documented.get(*code) != Some(row)).collect();
    assert!(odd.is_empty(), "in src/web/problem.rs, not so in docs/ERRORS.md: {odd:#?}");
    let odd: Vec<_> = documented.keys().filter(|code| !table.contains_key(*code)).collect();
    assert!(odd.is_empty(), "in docs/ERRORS.md only: {odd:?}");
    let enumerated = &Contract::load().document["components"]["schemas"]["ProblemCode"]["enum"];
    let enumerated: BTreeSet<&str> =
        enumerated.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let table: BTreeSet<&str> = table.keys().map(String::as_str).collect();
    assert_eq!(table, enumerated, "src/web/problem.rs and ProblemCode in openapi.yaml differ");
}

#[test]
fn every_call_says_who_may_call_and_what_may_go_wrong() {
    let known = ["anyone", "driver", "attendant", "manager", "api_key", "finance"];
    for operation in &Contract::load().operations {
        let (id, roles) = (&operation.id, &operation.roles);
        assert!(!roles.is_empty(), "{id}: x-roles is missing");
        assert!(roles.iter().all(|role| known.contains(&role.as_str())), "{id}: {roles:?}");
        let open = roles == &["anyone"];
        let let_in = Contract::load().is_open(operation);
        assert_eq!(open, let_in, "{id}: security and x-roles differ");
        let has = |status: u16| operation.statuses().contains(&status);
        if !open {
            assert!(has(401) && has(403) && has(429), "{id} is protected");
        }
        if operation.idempotent {
            assert!(has(400) && has(409) && has(422), "{id} needs an Idempotency-Key");
        }
        if operation.has_body() {
            let body = [400, 408, 413, 415, 422];
            assert!(body.iter().all(|status| has(*status)), "{id} takes a body");
        }
        if operation.template.contains("_id}") {
            assert!(has(404), "{id} names a thing that may be absent");
        }
    }
}

#[test]
fn creating_calls_need_an_idempotency_key() {
    let keyed: BTreeSet<&str> = Contract::load()
        .operations
        .iter()
        .filter(|operation| operation.idempotent)
        .map(|operation| operation.id.as_str())
        .collect();
    let expected = BTreeSet::from([
        "create_payment",
        "create_refund",
        "create_reservation",
        "extend_parking_session",
        "start_parking_session",
    ]);
    assert_eq!(keyed, expected);
}

#[test]
fn examples_keep_the_rules_that_they_illustrate() {
    let contract = Contract::load();
    let checked = contract.check_examples();
    assert!(checked > 80, "only {checked} examples");
}

#[test]
fn an_answer_outside_the_contract_is_caught() {
    let fits = json!({"RspCode": "00", "Message": "Confirm Success"}).to_string();
    let json = Some("application/json");
    let ipn = |status: u16, media: Option<&'static str>, body: String| {
        let judge = move || {
            Contract::load().check("GET", "/v1/payments/ipn/vnpay", status, media, body.as_bytes());
        };
        std::panic::catch_unwind(judge).is_ok()
    };
    assert!(ipn(200, json, fits.clone()), "the sheet's answer is in the contract");
    assert!(!ipn(500, json, fits.clone()), "a status that is not documented");
    assert!(!ipn(200, Some("text/plain"), fits), "another content type");
    assert!(!ipn(200, json, json!({"RspCode": "03", "Message": ""}).to_string()), "no such code");
    let more = json!({"RspCode": "00", "Message": "", "secret": 1}).to_string();
    assert!(!ipn(200, json, more), "a field that is not documented");
    assert!(!ipn(200, json, String::new()), "no body");
}

#[test]
fn a_literal_path_is_not_an_id() {
    let at = |path: &str| Contract::load().operation("GET", path).map(|it| it.id.as_str());
    assert_eq!(at("/v1/lots/search?lat=21.0287&lng=105.8524"), Some("search_lots"));
    assert_eq!(at("/v1/lots/0193a5c2-6d00-7a10-8c3e-2b9f4d5e6a71"), Some("get_lot"));
    assert_eq!(at("/v1/lots/"), None);
}

/// Run by hand after the whole suite with `IPARKING_CONTRACT_SEEN` set for both: which documented
/// statuses did no test see? The list in `tests/support/never_seen.txt` may only get shorter.
#[test]
#[ignore = "needs the notes of a whole run"]
#[allow(clippy::disallowed_methods)]
fn every_documented_status_was_seen() {
    let file = std::env::var("IPARKING_CONTRACT_SEEN").expect("IPARKING_CONTRACT_SEEN");
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<String>>();
    let seen = lines(&std::fs::read_to_string(file).unwrap());
    let excused = lines(include_str!("../support/never_seen.txt"));
    let unseen: BTreeSet<String> = documented().difference(&seen).cloned().collect();
    let new: Vec<_> = unseen.difference(&excused).collect();
    let outdated: Vec<_> = excused.difference(&unseen).collect();
    assert!(new.is_empty(), "documented and never seen: {new:#?}");
    assert!(outdated.is_empty(), "seen now; take these off the list: {outdated:#?}");
}
