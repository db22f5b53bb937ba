//! The product's own processes in a development run: their ports, settings and readiness.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::layout::{Layout, write_private};
use super::process::Program;
use super::secrets::Secrets;
use super::supervise::Supervised;
use super::{Options, Switch, shell};
use crate::auth::tokens::signing_key_pem;
use crate::platform::config::{Config, DatabaseConfig, RedisConfig};

/// How long everything may take until it answers.
const READY_PATIENCE: Duration = Duration::from_mins(2);
/// A child that failed so often before everything was up will not get better.
const FAILURES_MAX: u32 = 4;
/// The sandbox's terminal at VNPAY; eight characters as theirs.
const TMN_CODE: &str = "IPARKDEV";

/// The ports of a run, all on the loopback interface.
pub(super) struct Ports {
    pub(super) api: Vec<u16>,
    /// One for each API server, then the worker's.
    pub(super) metrics: Vec<u16>,
    pub(super) sandbox: u16,
}

impl Ports {
    /// Settles on ports that are free now.
    ///
    /// # Errors
    /// When a port that was asked for is taken.
    pub(super) fn choose(options: &Options) -> anyhow::Result<Self> {
        let api: Vec<u16> =
            (0..options.servers).filter_map(|n| options.api_port.checked_add(n)).collect();
        if api.len() != usize::from(options.servers) {
            bail!("IPARKING_API_PORT={} leaves no room for the servers", options.api_port);
        }
        for port in &api {
            check_free(*port, "API", "IPARKING_API_PORT")?;
        }
        check_free(options.sandbox_port, "sandbox", "IPARKING_SANDBOX_PORT")?;
        if api.contains(&options.sandbox_port) {
            bail!("IPARKING_SANDBOX_PORT={} is an API server's", options.sandbox_port);
        }
        let mut metrics = Vec::new();
        for n in 0..=options.servers {
            // Easy to remember if it is free; nobody depends on it.
            let wanted = options.api_port.checked_add(1000).and_then(|port| port.checked_add(n));
            let port = match wanted.filter(|port| *port != options.sandbox_port && is_free(*port)) {
                Some(port) => port,
                None => any_free()?,
            };
            metrics.push(port);
        }
        Ok(Self { api, metrics, sandbox: options.sandbox_port })
    }

    pub(super) fn api_urls(&self) -> Vec<String> {
        self.api.iter().map(|port| url(*port)).collect()
    }

    pub(super) fn metrics_urls(&self) -> Vec<String> {
        self.metrics.iter().map(|port| url(*port)).collect()
    }

    fn metrics_of_servers(&self) -> Vec<String> {
        self.metrics.iter().take(self.api.len()).map(|port| url(*port)).collect()
    }

    pub(super) fn sandbox_url(&self) -> String {
        url(self.sandbox)
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

fn check_free(port: u16, what: &str, variable: &str) -> anyhow::Result<()> {
    if is_free(port) {
        return Ok(());
    }
    bail!("port {port} for the {what} is taken; choose another with {variable}")
}

fn any_free() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port is free")?;
    Ok(listener.local_addr()?.port())
}

/// Environment variables: the product's settings.
type Env = Vec<(String, String)>;

/// The settings that all processes of a run share.
pub(super) struct Settings {
    shared: Env,
    database_url: String,
    redis_url: String,
    vnpay_secret: String,
}

impl Settings {
    /// Puts the settings together; secrets are made if they are missing.
    ///
    /// # Errors
    /// When a secret cannot be kept.
    pub(super) fn new(
        options: &Options,
        layout: &Layout,
        ports: &Ports,
        secrets: &mut Secrets,
        database_url: &str,
        redis_url: &str,
    ) -> anyhow::Result<Self> {
        let keys_dir = signing_keys(layout, secrets)?;
        let vnpay_secret = secrets.get("vnpay_secret")?;
        let sandbox = ports.sandbox_url();
        let first = ports.api_urls().into_iter().next().unwrap_or_default();
        let rate_limits = (options.rate_limits == Switch::On).to_string();
        let shared = [
            ("DATABASE_URL", database_url.to_owned()),
            ("REDIS_URL", redis_url.to_owned()),
            ("IPARKING__SERVER__DEV", "true".to_owned()),
            ("IPARKING__SERVER__PUBLIC_URL", first),
            ("IPARKING__AUTH__KEYS_DIR", keys_dir.to_string_lossy().into_owned()),
            ("IPARKING__AUTH__SECRET", secrets.get("auth_secret")?),
            ("IPARKING__QUOTES__SECRET", secrets.get("quotes_secret")?),
            // `iparking audit` compares with the sandbox's own books.
            ("IPARKING_SANDBOX_URL", sandbox.clone()),
            ("IPARKING__SMS__ENDPOINT", format!("{sandbox}/sms")),
            ("IPARKING__RATE_LIMITS__ENABLED", rate_limits),
            // A payment whose IPN was lost is asked about sooner than in production.
            ("IPARKING__PAYMENTS__QUERY_AFTER_S", "10,30,120,300".to_owned()),
            ("IPARKING__PAYMENTS__RETURN_HOSTS", "127.0.0.1,localhost".to_owned()),
            ("IPARKING__PAYMENTS__VNPAY__TMN_CODE", TMN_CODE.to_owned()),
            ("IPARKING__PAYMENTS__VNPAY__SECRET", vnpay_secret.clone()),
            ("IPARKING__PAYMENTS__VNPAY__PAY_URL", format!("{sandbox}/paymentv2/vpcpay.html")),
            (
                "IPARKING__PAYMENTS__VNPAY__API_URL",
                format!("{sandbox}/merchant_webapi/api/transaction"),
            ),
        ];
        Ok(Self {
            shared: shared.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            database_url: database_url.to_owned(),
            redis_url: redis_url.to_owned(),
            vnpay_secret,
        })
    }

    /// As much of the product's own settings as migrating and seeding need.
    pub(super) fn config(&self) -> Config {
        Config {
            database: DatabaseConfig::at(&self.database_url),
            redis: RedisConfig::at(&self.redis_url, &RedisConfig::default().prefix),
            ..Config::default()
        }
    }

    /// Writes `settings.env`, from which other commands learn of this run.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&self, layout: &Layout) -> anyhow::Result<()> {
        write_private(&layout.dev.join("settings.env"), &shell::lines(&self.shared))
    }

    /// Sandbox, worker and API servers, in the order of starting.
    ///
    /// # Errors
    /// When our own binaries are not where they should be.
    pub(super) fn programs(&self, layout: &Layout, ports: &Ports) -> anyhow::Result<Vec<Program>> {
        let server = std::env::current_exe().context("cannot tell where this program is")?;
        let sandbox = server.with_file_name("iparking-sandbox");
        if !sandbox.exists() {
            bail!("{} is missing: build it with `make run`", sandbox.display());
        }
        let mut programs = vec![self.sandbox(sandbox, layout, ports)];
        let mut metrics = ports.metrics.iter().rev();
        let worker_metrics = metrics.next().copied().unwrap_or_default();
        programs.push(self.ours(server.clone(), "worker", "worker", 0, worker_metrics, layout));
        for (n, (api, metrics)) in ports.api.iter().zip(&ports.metrics).enumerate() {
            let name = format!("server-{}", n + 1);
            programs.push(self.ours(server.clone(), &name, "server", *api, *metrics, layout));
        }
        Ok(programs)
    }

    fn ours(
        &self,
        path: PathBuf,
        name: &str,
        role: &str,
        port: u16,
        metrics: u16,
        layout: &Layout,
    ) -> Program {
        let mut env = self.shared.clone();
        env.push(("IPARKING__SERVER__BIND".to_owned(), format!("127.0.0.1:{port}")));
        env.push(("IPARKING__SERVER__METRICS_BIND".to_owned(), format!("127.0.0.1:{metrics}")));
        Program {
            name: name.to_owned(),
            path,
            args: vec![role.to_owned()],
            env,
            user: None,
            log: layout.log(name),
            stop: Signal::TERM,
        }
    }

    fn sandbox(&self, path: PathBuf, layout: &Layout, ports: &Ports) -> Program {
        let each = |urls: Vec<String>, path: &str| {
            urls.iter().map(|url| format!("{url}{path}")).collect::<Vec<_>>().join(",")
        };
        let books = layout.dev.join("sandbox").join("books.jsonl");
        let orders = each(ports.metrics_of_servers(), "/dev/orders/{merchant_ref}");
        let env = [
            ("LISTEN", format!("127.0.0.1:{}", ports.sandbox)),
            ("BOOKS", books.to_string_lossy().into_owned()),
            ("VNPAY_TMN_CODE", TMN_CODE.to_owned()),
            ("VNPAY_SECRET", self.vnpay_secret.clone()),
            ("VNPAY_IPN_URL", each(ports.api_urls(), "/v1/payments/ipn/vnpay")),
            ("ORDERS_URL", orders),
            // VNPAY waits five minutes between two calls; nobody at a terminal does.
            ("IPN_RETRY_MS", "3000".to_owned()),
        ];
        Program {
            name: "sandbox".to_owned(),
            path,
            args: Vec::new(),
            env: env.map(|(key, value)| (format!("IPARKING_SANDBOX_{key}"), value)).into(),
            user: None,
            log: layout.log("sandbox"),
            stop: Signal::TERM,
        }
    }
}

/// Makes the folder with the key that signs tokens.
fn signing_keys(layout: &Layout, secrets: &mut Secrets) -> anyhow::Result<PathBuf> {
    let mut seed = [0_u8; 32];
    hex::decode_to_slice(secrets.get("token_signing_seed")?, &mut seed)
        .context("the signing key is damaged")?;
    let folder = layout.dev.join("keys");
    std::fs::create_dir_all(&folder).context("cannot make the folder of the keys")?;
    write_private(&folder.join("dev-1.pem"), &signing_key_pem(&seed))?;
    Ok(folder)
}

/// Waits until every API server is ready and the sandbox answers.
///
/// # Errors
/// When a child keeps failing or time is up; the end of its log is in the error.
pub(super) async fn wait_until_ready(
    ports: &Ports,
    running: &[Supervised],
    layout: &Layout,
) -> anyhow::Result<()> {
    let mut waiting: Vec<(u16, &str)> = vec![(ports.sandbox, "/healthz")];
    waiting.extend(ports.api.iter().map(|port| (*port, "/readyz")));
    let started = tokio::time::Instant::now();
    while let Some((port, path)) = waiting.last() {
        if answers_ok(*port, path).await {
            waiting.pop();
            continue;
        }
        if let Some(child) = running.iter().find(|child| child.failures() >= FAILURES_MAX) {
            bail!(
                "{} keeps failing; the end of its log:\n{}",
                child.name,
                tail(layout, &child.name)
            );
        }
        if started.elapsed() > READY_PATIENCE {
            bail!(
                "port {port} did not get ready; logs are in {}",
                layout.dev.join("logs").display()
            );
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

fn tail(layout: &Layout, name: &str) -> String {
    const LINES: usize = 12;
    let text = std::fs::read_to_string(layout.log(name)).unwrap_or_default();
    let end: Vec<&str> = text.lines().rev().take(LINES).collect();
    end.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// Whether a GET is answered with 200.
async fn answers_ok(port: u16, path: &str) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut status = [0_u8; 12];
        stream.read_exact(&mut status).await?;
        std::io::Result::Ok(status.ends_with(b" 200"))
    };
    tokio::time::timeout(Duration::from_secs(5), ask)
        .await
        .is_ok_and(|asked| asked.unwrap_or(false))
}
