//! The layout of everything that crosses the boundary, as abi_stable's checker sees it, against the stored one.
//!
//! A difference means: plugins in the field were built against another layout. Adding a function at the end is fine (store the new
//! snapshot in the same commit: `UPDATE_LAYOUT=1 cargo test -p hivemind-abi --test layout`); any other difference breaks them.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use hivemind_abi::abi_stable::StableAbi;
use hivemind_abi::abi_stable::std_types::utypeid::UTypeId;
use hivemind_abi::abi_stable::type_layout::{TLField, TypeLayout};
use hivemind_abi::vtable::{BackendBox, BackendModule_Ref, HostBox};

/// Types of the standard and abi_stable libraries are covered by the exact version of abi_stable; ours are written out.
#[derive(Default)]
struct Found {
    visited: HashSet<UTypeId>,
    texts: BTreeMap<String, String>,
}

fn walk(layout: &'static TypeLayout, found: &mut Found) {
    if !found.visited.insert(layout.get_utypeid()) {
        return;
    }
    let mut text = String::new();
    let _ = writeln!(text, "size {} align {} repr {:?}", layout.size(), layout.alignment(), layout.repr_attr());
    let fields = layout.get_fields().map(|f| f.to_vec()).unwrap_or_default();
    for field in fields.iter().chain(&layout.phantom_fields().to_vec()) {
        let _ = writeln!(text, "  {}", line(field));
        walk(field.layout(), found);
        for function in field.function_range().iter() {
            let signature = function.to_string();
            let _ = writeln!(text, "    {}", signature.lines().next().unwrap_or_default());
            for part in parameters(&function) {
                walk(part, found);
            }
        }
    }
    if layout.package() == "hivemind-abi" {
        // Two traits have a `VTable`; the module tells them apart.
        found.texts.insert(format!("{}::{}", layout.mod_path(), layout.full_type()), text);
    }
}

fn line(field: &TLField) -> String {
    format!("{}: {}", field.name(), field.full_type())
}

fn parameters(function: &hivemind_abi::abi_stable::type_layout::TLFunction) -> Vec<&'static TypeLayout> {
    let layouts = function.param_type_layouts.iter().map(|layout| layout());
    layouts.chain(function.return_type_layout().map(|layout| layout())).collect()
}

#[test]
fn the_layout_is_the_stored_one() {
    let mut all = Found::default();
    walk(<BackendModule_Ref as StableAbi>::LAYOUT, &mut all);
    walk(<BackendBox as StableAbi>::LAYOUT, &mut all);
    walk(<HostBox as StableAbi>::LAYOUT, &mut all);
    let mut found = String::new();
    for (name, text) in &all.texts {
        let _ = writeln!(found, "{name}\n{text}");
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/layout.snapshot");
    if std::env::var_os("UPDATE_LAYOUT").is_some() {
        std::fs::write(path, &found).expect("the snapshot is written");
    }
    let stored = std::fs::read_to_string(path).expect("the snapshot is stored");
    let first = found.lines().zip(stored.lines()).find(|(a, b)| a != b);
    assert!(found == stored, "the ABI's layout changed; first difference (found, stored): {first:#?}");
}

#[test]
fn the_exported_symbol_is_the_one_that_is_looked_for() {
    let source = include_str!("../src/export.rs");
    let name = hivemind_abi::abi_stable::library::ROOT_MODULE_LOADER_NAME;
    assert!(source.contains(&format!("export_name = \"{name}\"")), "export.rs must export {name}");
}
