//! A plugin's manifest, and a settings block checked against the schema in it: whatever they are, they are refused or used, and no
//! message repeats a value.

use hivemind_abi::manifest::FORMAT;
use hivemind_host::plugins::manifest::{Names, host_target};
use hivemind_host::plugins::{Manifest, Reason, settings};
use serde_json::{Map, Value};

/// The input is a manifest, and behind a NUL the settings.
///
/// # Panics
/// Where a property does not hold.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (text, block) = text.split_once('\0').unwrap_or((text, "{}"));
    let names = Names::in_text(text);
    match Manifest::parse(text) {
        Ok(manifest) => {
            let Names { module, aliases } = names.expect("a manifest has names");
            assert_eq!((&module, &aliases), (&manifest.module, &manifest.aliases));
            assert!(std::iter::once(&module).chain(&aliases).all(|name| is_plain(name)));
            let written = serde_json::to_string(&manifest).expect("a manifest is JSON");
            assert_eq!(Manifest::parse(&written).as_ref(), Ok(&manifest));
            assert!(manifest.capabilities().iter().all(|c| manifest.capabilities.iter().any(|name| name == c.name())));
            checked(&manifest, block);
        }
        Err(reason) => {
            assert!(!reason.at("/plugins/x.so").to_string().is_empty());
            // A part of a manifest is enough to try its schema.
            if let Ok(Value::Object(whole)) = serde_json::from_str::<Value>(text) {
                let schema = whole.get("config").cloned().unwrap_or(Value::Object(whole));
                checked(&of_schema(schema), block);
            }
        }
    }
}

/// A manifest that is right but for its schema, maybe.
pub(crate) fn of_schema(config: Value) -> Manifest {
    Manifest {
        manifest: FORMAT,
        module: "some-db-plugin".to_owned(),
        aliases: Vec::new(),
        version: "1.0.0".to_owned(),
        vendor: String::new(),
        licence: String::new(),
        abi: hivemind_abi::ABI_VERSION.to_owned(),
        target: host_target().to_owned(),
        rustc: String::new(),
        panic: "unwind".to_owned(),
        capabilities: Vec::new(),
        config,
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
}

fn checked(manifest: &Manifest, block: &str) {
    let Ok(Value::Object(block)) = serde_json::from_str::<Value>(block) else { return };
    let _ = problems(manifest, &block);
    let marked = block.into_iter().map(|(name, value)| (name, marked(value))).collect();
    assert!(problems(manifest, &marked).iter().all(|p| !p.contains(MARK)), "a value is repeated");
}

/// What is said of a settings block.
pub(crate) fn problems(manifest: &Manifest, block: &Map<String, Value>) -> Vec<String> {
    match settings::check(manifest, block) {
        Ok(()) => Vec::new(),
        Err(Reason::Settings(problems)) => {
            assert!(!problems.is_empty());
            problems
        }
        Err(Reason::BadManifest(message)) => vec![message],
        Err(other) => panic!("{other:?}"),
    }
}

/// What stands in every value that must not be repeated. Nothing else says this.
pub(crate) const MARK: &str = "\u{2042}hidden\u{2042}";

/// A value whose texts are all marked.
pub(crate) fn marked(value: Value) -> Value {
    match value {
        Value::String(text) => (text + MARK).into(),
        Value::Array(items) => items.into_iter().map(marked).collect::<Vec<_>>().into(),
        Value::Object(members) => members.into_iter().map(|(name, v)| (name, marked(v))).collect::<Map<_, _>>().into(),
        other => other,
    }
}
