//! The contract as a judge: every answer that a test sees must be one that `openapi.yaml`
//! describes, down to the last field.
//!
//! The test client calls [`Contract::check`] for every answer; a breach panics with the operation,
//! the place in the body and the rule. What was seen is appended to the file named by
//! `IPARKING_CONTRACT_SEEN`, if that is set, so that a run can tell which documented statuses no
//! test ever saw.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};

use jsonschema::{Registry, Validator};
use serde_json::{Value, json};

/// The document's address inside the schema registry; nothing is fetched from it.
const BASE: &str = "urn:iparking:contract";

/// Methods that OpenAPI knows and we use.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// One call of the contract.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Upper case.
    pub method: String,
    /// As in the contract: `/v1/lots/{lot_id}`.
    pub template: String,
    /// The contract's name of it.
    pub id: String,
    /// Who is let in: `anyone`, `driver`, `attendant`, `manager`, `api_key`, `finance`.
    pub roles: Vec<String>,
    /// Whether an `Idempotency-Key` is needed.
    pub idempotent: bool,
    /// JSON pointer of the request body's schema, if there is one.
    request: Option<String>,
    responses: BTreeMap<u16, Response>,
}

#[derive(Debug, Clone)]
struct Response {
    /// Content type → JSON pointer of its schema.
    media: BTreeMap<String, String>,
    headers: Vec<String>,
}

/// `openapi.yaml`, ready to judge.
pub struct Contract {
    /// The whole document as JSON.
    pub document: Value,
    /// Every call.
    pub operations: Vec<Operation>,
    registry: Registry<'static>,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Operation {
    /// The documented statuses.
    pub fn statuses(&self) -> Vec<u16> {
        self.responses.keys().copied().collect()
    }

    /// Whether the call takes a body.
    pub fn has_body(&self) -> bool {
        self.request.is_some()
    }
}

impl Contract {
    /// The repository's `openapi.yaml`, read once per process.
    pub fn load() -> &'static Contract {
        static CONTRACT: OnceLock<Contract> = OnceLock::new();
        CONTRACT.get_or_init(|| {
            Contract::parse(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.yaml")))
        })
    }

    fn parse(yaml: &str) -> Contract {
        let document: Value = serde_saphyr::from_str(yaml).expect("openapi.yaml is YAML");
        let mut operations = Vec::new();
        for (template, item) in object(&document["paths"]) {
            for method in METHODS.iter().filter(|method| item.get(**method).is_some()) {
                operations.push(operation(&document, template, method));
            }
        }
        let registry = Registry::new()
            .add(BASE, document.clone())
            .and_then(jsonschema::RegistryBuilder::prepare)
            .expect("openapi.yaml refers only to what it contains");
        Contract { document, operations, registry, validators: Mutex::default() }
    }

    /// The call that a request is, if the contract has it.
    pub fn operation(&self, method: &str, path: &str) -> Option<&Operation> {
        self.at_path(path).into_iter().find(|operation| operation.method == method)
    }

    /// All calls at a path. A literal segment beats a parameter: `/v1/lots/search` is not a lot.
    fn at_path(&self, path: &str) -> Vec<&Operation> {
        let path = path.split('?').next().unwrap_or_default();
        let matching = self.operations.iter().filter(|operation| fits(&operation.template, path));
        let literals = |operation: &&Operation| operation.template.matches('{').count();
        let fewest = matching.clone().map(|operation| literals(&operation)).min();
        matching.filter(|operation| Some(literals(operation)) == fewest).collect()
    }

    /// Judges an answer; panics when the contract does not allow it.
    pub fn check(
        &self,
        method: &str,
        path: &str,
        status: u16,
        content_type: Option<&str>,
        body: &[u8],
    ) {
        let here = format!("{method} {path} → {status}");
        let media = content_type.map(|value| value.split(';').next().unwrap_or_default().trim());
        if self.is_outside(method, path, status) {
            let schema = self.schema("Problem");
            return self.must_fit(&here, &schema, &json_body(&here, media, body));
        }
        let Some(operation) = self.operation(method, path) else {
            panic!("{here}: openapi.yaml has no such call, so only 404 or 405 may come");
        };
        let Some(response) = operation.responses.get(&status) else {
            panic!(
                "{here}: openapi.yaml has {:?} for {} but not this status\n{}",
                operation.responses.keys(),
                operation.id,
                String::from_utf8_lossy(body),
            );
        };
        note_seen(operation, status);
        if response.media.is_empty() {
            assert!(body.is_empty(), "{here}: openapi.yaml has no body for this");
            return;
        }
        let Some((media, schema)) = media.and_then(|media| response.media.get_key_value(media))
        else {
            panic!("{here}: content type {content_type:?} is not of {:?}", response.media.keys());
        };
        if media.ends_with("json") {
            self.must_fit(&here, schema, &json_body(&here, Some(media), body));
        }
    }

    /// Judges the headers that the contract requires of an answer.
    pub fn check_headers(&self, method: &str, path: &str, status: u16, has: impl Fn(&str) -> bool) {
        let operation = self.operation(method, path);
        for name in
            operation.and_then(|it| it.responses.get(&status)).iter().flat_map(|r| &r.headers)
        {
            assert!(has(name), "{method} {path} → {status}: header {name} is missing");
        }
    }

    /// Judges a request that the server accepted: what works must be what is documented.
    pub fn check_accepted(&self, method: &str, path: &str, body: &Value) {
        let schema = self.operation(method, path).and_then(|operation| operation.request.as_ref());
        if let Some(schema) = schema {
            self.must_fit(&format!("{method} {path}, request"), schema, body);
        }
    }

    /// Whether a call is let in without credentials.
    pub fn is_open(&self, operation: &Operation) -> bool {
        let method = operation.method.to_lowercase();
        let item = &self.document["paths"][&operation.template][method];
        let ways = item["security"].as_array().expect("every call states its security");
        ways.is_empty() || ways.contains(&json!({}))
    }

    /// Judges every example by the schema beside it; gives their number.
    pub fn check_examples(&self) -> usize {
        self.check_examples_in(&self.document, "")
    }

    fn check_examples_in(&self, node: &Value, pointer: &str) -> usize {
        let mut checked = 0;
        // Beside a schema (media types, parameters) or inside one.
        let (schema, list) = match (node.get("schema"), node.get("examples")) {
            (Some(_), Some(named)) => {
                let values = object(named).map(|(_, example)| example["value"].clone());
                (format!("{pointer}/schema"), values.collect())
            }
            (Some(_), None) => {
                let one = node.get("example").cloned();
                (format!("{pointer}/schema"), one.into_iter().collect())
            }
            (None, examples) => {
                let list = examples.and_then(Value::as_array).cloned().unwrap_or_default();
                (pointer.to_owned(), list)
            }
        };
        for example in &list {
            self.must_fit("example", &schema, example);
            checked += 1;
        }
        let children: Vec<(String, &Value)> = match node {
            Value::Object(fields) => fields.iter().map(|(name, it)| (escape(name), it)).collect(),
            Value::Array(items) => {
                items.iter().enumerate().map(|(at, it)| (at.to_string(), it)).collect()
            }
            _ => Vec::new(),
        };
        for (name, child) in children {
            if !matches!(name.as_str(), "example" | "examples" | "default" | "enum" | "const") {
                checked += self.check_examples_in(child, &format!("{pointer}/{name}"));
            }
        }
        checked
    }

    /// Judges the `data` of a server-sent `availability` event.
    pub fn check_event(&self, data: &str) {
        let event = json_body("availability event", Some("application/json"), data.as_bytes());
        self.must_fit("availability event", &self.schema("AvailabilityEvent"), &event);
    }

    /// Whether a request meets no call of the contract and is told so.
    fn is_outside(&self, method: &str, path: &str, status: u16) -> bool {
        let methods = self.at_path(path);
        match status {
            404 => methods.is_empty(),
            405 => methods.iter().all(|operation| operation.method != method),
            _ => false,
        }
    }

    fn schema(&self, name: &str) -> String {
        assert!(self.document["components"]["schemas"][name].is_object(), "no schema {name}");
        format!("/components/schemas/{name}")
    }

    fn must_fit(&self, here: &str, schema: &str, value: &Value) {
        let validator = self.validator(schema);
        let faults: Vec<String> = validator
            .iter_errors(value)
            .map(|error| format!("  at {:?}: {error}", error.instance_path().to_string()))
            .collect();
        assert!(
            faults.is_empty(),
            "{here} breaks openapi.yaml#{schema}\n{}\n{value:#}",
            faults.join("\n"),
        );
    }

    fn validator(&self, schema: &str) -> Arc<Validator> {
        let mut validators = self.validators.lock().unwrap();
        let made = validators.entry(schema.to_owned()).or_insert_with(|| {
            // A JSON pointer in a URI fragment: path templates bring braces, RFC 3986 wants codes.
            let fragment = schema.replace('{', "%7B").replace('}', "%7D");
            let built = jsonschema::draft202012::options()
                .with_registry(&self.registry)
                .should_validate_formats(true)
                .build(&json!({"$ref": format!("{BASE}#{fragment}")}));
            Arc::new(built.unwrap_or_else(|error| panic!("openapi.yaml#{schema}: {error}")))
        });
        Arc::clone(made)
    }
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// Follows a `$ref` into the components; gives the thing and its JSON pointer.
fn resolve<'d>(document: &'d Value, value: &'d Value, pointer: String) -> (&'d Value, String) {
    match value["$ref"].as_str() {
        Some(reference) => {
            let pointer = reference.trim_start_matches('#').to_owned();
            let target =
                document.pointer(&pointer).unwrap_or_else(|| panic!("{reference} missing"));
            (target, pointer)
        }
        None => (value, pointer),
    }
}

fn escape(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}

fn media_of(content: &Value, pointer: &str) -> BTreeMap<String, String> {
    object(content)
        .map(|(media, _)| (media.clone(), format!("{pointer}/content/{}/schema", escape(media))))
        .collect()
}

fn operation(document: &Value, template: &str, method: &str) -> Operation {
    let item = &document["paths"][template];
    let it = &item[method];
    let at = format!("/paths/{}/{method}", escape(template));
    let parameters =
        [&item["parameters"], &it["parameters"]].into_iter().filter_map(Value::as_array);
    let mut names = parameters.flatten().map(|one| resolve(document, one, String::new()).0);
    let idempotent = names.any(|one| one["name"] == "Idempotency-Key");
    let request =
        it.get("requestBody").map(|body| resolve(document, body, format!("{at}/requestBody")));
    let responses = object(&it["responses"]).map(|(status, response)| {
        let (response, pointer) = resolve(document, response, format!("{at}/responses/{status}"));
        let required =
            |header: &Value| resolve(document, header, String::new()).0["required"] == true;
        let headers = object(&response["headers"]).filter(|(_, header)| required(header));
        let answer = Response {
            media: media_of(&response["content"], &pointer),
            headers: headers.map(|(name, _)| name.clone()).collect(),
        };
        (status.parse().expect("statuses are numbers"), answer)
    });
    Operation {
        method: method.to_uppercase(),
        template: template.to_owned(),
        id: it["operationId"].as_str().expect("every call has an operationId").to_owned(),
        roles: it["x-roles"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        idempotent,
        request: request.and_then(|(body, pointer)| {
            media_of(&body["content"], &pointer).remove("application/json")
        }),
        responses: responses.collect(),
    }
}

fn fits(template: &str, path: &str) -> bool {
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    loop {
        match (template.next(), path.next()) {
            (None, None) => return true,
            (Some(ours), Some(theirs)) => {
                let parameter = ours.starts_with('{') && !theirs.is_empty();
                if !parameter && ours != theirs {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

fn json_body(here: &str, media: Option<&str>, body: &[u8]) -> Value {
    let media = media.unwrap_or_default();
    assert!(media.ends_with("json"), "{here}: expected JSON, got {media:?}");
    serde_json::from_slice(body)
        .unwrap_or_else(|error| panic!("{here}: {error}\n{}", String::from_utf8_lossy(body)))
}

/// Notes a documented status as seen, once per process.
#[allow(clippy::disallowed_methods)] // a switch of the test run, not a setting of the product
fn note_seen(operation: &Operation, status: u16) {
    static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let Ok(file) = std::env::var("IPARKING_CONTRACT_SEEN") else { return };
    let line = format!("{} {status}", operation.id);
    if SEEN.lock().unwrap().insert(line.clone()) {
        // One short write to a file opened for appending: processes do not tear each other's lines.
        let open = std::fs::OpenOptions::new().create(true).append(true).open(file);
        open.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
            .expect("IPARKING_CONTRACT_SEEN is writable");
    }
}

/// Every `operationId status` that the contract documents.
pub fn documented() -> BTreeSet<String> {
    let operations = Contract::load().operations.iter();
    operations
        .flat_map(|it| it.responses.keys().map(move |status| format!("{} {status}", it.id)))
        .collect()
}
