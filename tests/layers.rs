//! The table of layers is a test: a module uses its own layer and those below, never one above; front ends
//! never use each other; each dependency has the modules that own it and is named nowhere else.
//!
//! It reads the sources as text: comments and literals away, `use` trees spelled out, other paths by their head.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every top-level module and its layer. A new module gets its line here first.
const LAYERS: &[(u8, &[&str])] = &[
    (5, &["main", "cli", "batch", "bench", "commands", "live", "tui"]),
    (4, &["cleanup"]),
    (3, &["checks"]),
    (2, &["windows", "threat", "store", "practice"]),
    (1, &["disk", "volume", "hive", "memory"]),
    (0, &["finding", "change", "policy", "event", "path", "digest", "printable", "error", "fence"]),
];

/// These never use each other; what they share is `cli`'s and `cleanup`'s.
const FRONT_ENDS: &[&str] = &["batch", "bench", "commands", "live", "tui"];

/// A dependency, as code names it, and the only modules that may.
const OWNERS: &[(&str, &[&str])] = &[
    ("askama", &["cleanup"]),
    ("clap", &["cli", "main"]),
    ("clap_complete", &["cli", "main"]),
    ("clap_mangen", &["cli", "main"]),
    ("crossterm", &["tui"]),
    ("csv", &["cleanup"]),
    ("fatfs", &["volume"]),
    ("flate2", &["practice", "store"]),
    ("md5", &["digest"]),
    ("nt_hive", &["hive"]),
    ("ntfs", &["volume"]),
    ("object", &["windows"]),
    ("ratatui", &["tui"]),
    ("rustix", &["disk", "live", "store", "tui", "volume"]),
    ("sha1", &["digest"]),
    ("sha2", &["digest"]),
    ("shlex", &["cli"]),
    ("signal_hook", &["volume"]),
    ("toml", &["cli", "threat"]),
    ("unicode_width", &["tui"]),
];

#[test]
fn no_module_looks_up() {
    let root = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
    let source = root.join("src");
    let mut files = Vec::new();
    collect(&source, &mut files);
    assert!(files.len() > 2, "no sources below {}", source.display());
    let complaints: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let name = file.strip_prefix(&source).expect("it is below src").to_string_lossy().into_owned();
            judge(&name, &fs::read_to_string(file).expect("a source is UTF-8"))
        })
        .collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn an_upward_use_is_told() {
    let told = |file: &str, text: &str| judge(file, text).join("; ");
    assert!(told("hive/read.rs", "use crate::cleanup::plan::Plan;").contains("looks up to cleanup"));
    assert!(
        told("hive/read.rs", "use crate::{error::Error, checks::{self, Check}};")
            .contains("looks up to checks")
    );
    assert!(told("store/mod.rs", "fn f() { crate::checks::all(); }").contains("looks up to checks"));
    assert!(told("path.rs", "use super::hive::Hive;").contains("looks up to hive"));
    assert!(told("checks/dcom.rs", "use super::super::cleanup::Plan;").contains("looks up to cleanup"));
    assert!(told("tui/app.rs", "use crate::batch::run;").contains("front ends"));
    assert!(told("hive/read.rs", "use crate::Hive;").contains("no layer"));
    assert!(told("novelty.rs", "").contains("no layer"));
    assert!(told("hive/read.rs", "\nuse sha2::{Digest, Sha256};").contains("src/hive/read.rs: sha2"));
    assert!(told("checks/dcom.rs", "fn f(x: ntfs::Ntfs) {}").contains("belongs to volume"));
    assert!(told("batch.rs", "#[derive(clap::Parser)] struct A;").contains("belongs to cli, main"));
}

#[test]
fn what_is_allowed_is_not_told() {
    let quiet = |file: &str, text: &str| assert_eq!(judge(file, text), Vec::<String>::new(), "{text}");
    quiet("checks/dcom.rs", "use crate::{error::Error, hive::{edit, read::Value}, windows::Install};");
    quiet(
        "checks/dcom.rs",
        "// as crate::cleanup does\n/* crate::tui /* nested */ crate::tui */ const A: &str = \"crate::tui::x\";",
    );
    quiet(
        "checks/dcom.rs",
        "const Q: char = '\"'; const R: &str = r#\"crate::tui \"quoted\"\"#; fn f<'a>(x: &'a str) {}",
    );
    quiet("checks/dcom.rs", "pub(crate) fn f() {} mod tests { use super::*; use super::judge; }");
    quiet("volume/mod.rs", "mod ntfs; use ::ntfs::Ntfs; use rustix::fs::open;");
    quiet(
        "cleanup/inspect.rs",
        "use crate::volume::{ntfs, fat::Fat}; fn f() { ntfs::scan(); crate::volume::ntfs::scan(); }",
    );
    quiet("main.rs", "use deblast::{cli, batch, commands}; use clap::Parser as _;");
    quiet("lib.rs", "pub mod tui; pub mod hive;");
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> =
        fs::read_dir(folder).expect("a folder of sources").map(|e| e.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

fn layer(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(_, modules)| modules.contains(&module)).map(|(layer, _)| *layer)
}

/// What is wrong with one file, `name` being its path below src.
fn judge(name: &str, text: &str) -> Vec<String> {
    // lib.rs declares the modules and may name all of them; as an owner of dependencies it is nobody
    let parts: Vec<&str> = name.trim_end_matches(".rs").trim_end_matches("/mod").split('/').collect();
    let own = parts[0];
    let mut complaints = Vec::new();
    let Some(own_layer) = layer(own).or((own == "lib").then_some(u8::MAX)) else {
        return vec![format!("src/{name}: {own} has no layer; give it one in tests/layers.rs")];
    };
    let text = without_words(text);
    for path in paths(&text) {
        let segments: Vec<&str> = path.split("::").collect();
        let supers = segments.iter().take_while(|s| **s == "super").count();
        // `self::` and `super::` within the module stay there; from the module's top they reach the crate's root
        let (module, from_root) = match segments[0] {
            "crate" | "deblast" => (segments.get(1).copied(), true),
            "super" if supers == parts.len() => (segments.get(supers).copied(), false),
            _ => (None, false),
        };
        if let Some(module) = module.filter(|m| !["self", "*", ""].contains(m)) {
            match layer(module) {
                None if from_root => {
                    complaints.push(format!(
                        "src/{name}: {path}: {module} has no layer; name things through their module"
                    ));
                }
                Some(other) if other > own_layer => {
                    complaints.push(format!("src/{name}: {path}: {own} looks up to {module}"))
                }
                Some(_) if own != module && FRONT_ENDS.contains(&own) && FRONT_ENDS.contains(&module) => {
                    complaints.push(format!("src/{name}: {path}: front ends never use each other"));
                }
                _ => {}
            }
        }
        let owners =
            OWNERS.iter().find(|(dependency, _)| *dependency == segments[0]).map(|(_, owners)| *owners);
        if let Some(owners) = owners.filter(|owners| !owners.contains(&own)) {
            complaints.push(format!("src/{name}: {path}: it belongs to {}", owners.join(", ")));
        }
    }
    complaints
}

/// The text without comments and without what stands in string and character literals.
fn without_words(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut out = String::new();
    let mut i = 0;
    while i < chars.len() {
        let before = out.chars().last().unwrap_or(' ');
        let hashes = (i + 1..).take_while(|j| at(*j) == '#').count();
        if at(i) == '/' && at(i + 1) == '/' {
            while i < chars.len() && at(i) != '\n' {
                i += 1;
            }
        } else if at(i) == '/' && at(i + 1) == '*' {
            let mut depth = 0;
            while i < chars.len() {
                match (at(i), at(i + 1)) {
                    ('/', '*') => (depth, i) = (depth + 1, i + 2),
                    ('*', '/') => (depth, i) = (depth - 1, i + 2),
                    _ => i += 1,
                }
                if depth == 0 {
                    break;
                }
            }
        } else if at(i) == 'r' && (!is_word(before) || before == 'b') && at(i + 1 + hashes) == '"' {
            i += 2 + hashes;
            while i < chars.len() && !(at(i) == '"' && (1..=hashes).all(|h| at(i + h) == '#')) {
                i += 1;
            }
            i += 1 + hashes;
        } else if at(i) == '"' {
            i += 1;
            while i < chars.len() && at(i) != '"' {
                i += if at(i) == '\\' { 2 } else { 1 };
            }
            i += 1;
        } else if at(i) == '\'' && (at(i + 1) == '\\' || at(i + 2) == '\'') {
            i += if at(i + 1) == '\\' { 3 } else { 2 };
            while i < chars.len() && at(i) != '\'' {
                i += 1;
            }
            i += 1;
        } else {
            out.push(at(i));
            i += 1;
            continue;
        }
        out.push(' ');
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Every path of the text that does not begin with a name that the text itself declares or imports.
fn paths(text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    let mut local = BTreeSet::new();
    let mut heads = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        let before = if i == 0 { "" } else { tokens[i - 1] };
        if tokens[i] == "use" && ["", ";", "{", "}", "]", "pub", ")"].contains(&before) {
            let end = tokens[i..].iter().position(|t| *t == ";").map_or(tokens.len(), |n| i + n);
            let mut tree = &tokens[i + 1..end];
            // `use ::ntfs::…` names the dependency whatever modules there are
            if tree.first() == Some(&"::") {
                tree = &tree[1..];
            }
            spell_out(&mut tree, "", &mut found, &mut local);
            i = end;
        } else if tokens[i] == "mod" && tokens.get(i + 1).is_some_and(|t| t.starts_with(is_word)) {
            local.insert(tokens[i + 1].to_owned());
            i += 1;
        } else if tokens[i].starts_with(is_word) && tokens.get(i + 1) == Some(&"::") && before != "::" {
            let path: String =
                tokens[i..].iter().take_while(|t| **t == "::" || t.starts_with(is_word)).copied().collect();
            i += path.matches("::").count() * 2;
            heads.push(path);
        }
        i += 1;
    }
    found.extend(heads.into_iter().filter(|path| !local.contains(path.split("::").next().unwrap_or(""))));
    found
}

/// Words, `::`, and every other character by itself.
fn tokens(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        out.push(token);
        rest = after.trim_start();
    }
    out
}

/// Spells a `use` tree out into whole paths, and notes the names that it brings into the file.
fn spell_out(tree: &mut &[&str], above: &str, found: &mut Vec<String>, local: &mut BTreeSet<String>) {
    let mut path = above.to_owned();
    while let Some((token, rest)) = tree.split_first() {
        match *token {
            "," | "}" => break,
            "{" => {
                *tree = rest;
                while tree.first().is_some_and(|t| *t != "}") {
                    spell_out(tree, &path, found, local);
                    if tree.first() == Some(&",") {
                        *tree = &tree[1..];
                    }
                }
                *tree = tree.get(1..).unwrap_or_default();
                return;
            }
            "as" => {
                local.extend(rest.first().map(|name| (*name).to_owned()));
                *tree = rest.get(1..).unwrap_or_default();
            }
            _ => {
                path.push_str(token);
                *tree = rest;
            }
        }
    }
    let mut names = path.rsplit("::").filter(|name| *name != "self");
    // `use ntfs;` alone imports nothing that was not there
    if path.contains("::") {
        local.extend(names.next().map(str::to_owned));
    }
    found.push(path);
}
