//! The house rules that a compiler does not know: who may use whom, where SQL and HTTP may
//! stand, how long files may be, and words that have no place here.
#![allow(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::unwrap_used,
    clippy::panic,
    missing_docs
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Modules by rank: one may use only those of a lower rank (and itself).
const RANKS: &[(&str, u8)] = &[
    ("kernel", 0),
    ("platform", 1),
    ("web", 2),
    ("notifications", 2),
    ("auth", 3),
    ("drivers", 4),
    ("operators", 4),
    ("tariffs", 4),
    ("ledger", 4),
    ("lots", 5),
    ("occupancy", 6),
    ("search", 7),
    ("reservations", 7),
    ("parking_sessions", 8),
    ("payments", 9),
    ("audit", 10),
    ("routes", 11),
    ("worker", 11),
    ("server", 11),
    ("cli", 11),
    ("dev", 11),
    ("main", 11),
];

const LINES_MAX: usize = 400;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(dir: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.map(Result::unwrap) {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", ".git", "var", ".sqlx", "node_modules", "fixtures"].contains(&&*name) {
                files_below(&path, endings, found);
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
}

fn sources(dir: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    files_below(&root().join(dir), &[".rs"], &mut found);
    found
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect()
}

fn module_of(file: &str) -> &str {
    let rest = file.strip_prefix("src/").unwrap();
    rest.split('/').next().unwrap().trim_end_matches(".rs")
}

fn rank(module: &str) -> Option<u8> {
    RANKS.iter().find(|(name, _)| *name == module).map(|(_, rank)| *rank)
}

/// The module names after each `crate::` of a file, comments left out.
fn used_modules(text: &str) -> Vec<String> {
    let mut used = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for piece in line.split("crate::").skip(1) {
            let name: String =
                piece.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            if let Some(list) = piece.strip_prefix('{') {
                used.extend(list.split([',', '}']).map(|part| {
                    let part = part.trim();
                    part.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect()
                }));
            } else {
                used.push(name);
            }
        }
    }
    used.retain(|name| !name.is_empty());
    used
}

#[test]
fn modules_use_only_lower_ranks() {
    let mut faults = Vec::new();
    for (file, text) in sources("src") {
        let module = module_of(&file);
        if module == "lib" {
            continue;
        }
        let own = rank(module).unwrap_or_else(|| panic!("{module} has no rank in this table"));
        for used in used_modules(&text) {
            if used == module {
                continue;
            }
            match rank(&used) {
                Some(other) if own == 11 || other < own => {}
                Some(_) => faults.push(format!("{file}: {module} may not use {used}")),
                None => {}
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn a_forbidden_use_would_be_noticed() {
    let used = used_modules("use crate::payments::store;\nuse crate::{kernel::ids, ledger};\n");
    assert_eq!(used, ["payments", "kernel", "ledger"]);
}

#[test]
fn sql_stands_in_stores_and_http_in_handlers() {
    let mut faults = Vec::new();
    for (file, text) in sources("src") {
        let module = module_of(&file);
        let domain = rank(module).is_some_and(|rank| (3..=10).contains(&rank));
        if !domain || file.contains("/tests") || file.ends_with("_tests.rs") {
            continue;
        }
        let name = file.rsplit('/').next().unwrap();
        let has = |needle: &str| {
            text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(needle))
        };
        let in_store = name.contains("store") || file.contains("/store/") || module == "audit";
        if has("sqlx::query") && !in_store {
            faults.push(format!("{file}: SQL outside a store"));
        }
        let in_http = name.contains("http")
            || file.contains("/http/")
            || module == "auth"
            || name == "ipn.rs"
            || name == "stream.rs";
        if has("actix_web") && !in_http {
            faults.push(format!("{file}: HTTP outside a handler file"));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn files_stay_short_enough_to_read() {
    let mut faults = Vec::new();
    for dir in ["src", "sandbox", "loadtest", "tests"] {
        for (file, text) in sources(dir) {
            let lines = text.lines().count();
            if lines > LINES_MAX {
                faults.push(format!("{file}: {lines} lines, at most {LINES_MAX}"));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn empty_words_name_nothing() {
    let banned = ["util", "utils", "common", "helpers", "manager", "misc", "data", "info"];
    let mut found = Vec::new();
    for dir in ["src", "sandbox/src", "loadtest/src"] {
        files_below(&root().join(dir), &[".rs"], &mut found);
    }
    for path in found {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(!banned.contains(&&*stem), "{} has an empty name", path.display());
    }
}

#[test]
fn work_that_is_left_names_its_issue() {
    for dir in ["src", "sandbox/src", "loadtest/src"] {
        for (file, text) in sources(dir) {
            for (number, line) in text.lines().enumerate() {
                let open = line.contains("TODO") || line.contains("FIXME");
                assert!(!open || line.contains('#'), "{file}:{}: {line}", number + 1);
            }
        }
    }
}
