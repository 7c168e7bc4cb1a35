//! The page to print says what the report says and nothing of its own; no name from a disk becomes part of it; stored
//! reports are shown as the run showed them, and damage to one is told. The judge of the page is html5ever, the parser of
//! a browser; of the reports, the JSON Schema.
//!
//! The practice disks need root and /dev/fuse; `scripts/test` installs what else is missing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use common::{Case, ROOT, Ran, rehashed};
use html5ever::tendril::TendrilSink as _;
use markup5ever_rcdom::{Handle, NodeData, RcDom};
use serde_json::{Value, json};

/// An element of a page, with the text of it and all in it.
struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    text: String,
    /// The element that it stands in.
    parent: String,
}

/// A page as a browser reads it.
struct Page(Vec<Element>);

impl Page {
    #[track_caller]
    fn read(html: &str) -> Self {
        let dom = html5ever::parse_document(RcDom::default(), html5ever::ParseOpts::default()).one(html);
        let errors = dom.errors.borrow();
        assert!(errors.is_empty(), "a browser would have to mend the page: {errors:?}\n{html}");
        let mut elements = Vec::new();
        walk(&dom.document, "", &mut elements);
        Self(elements)
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &Element> {
        self.0.iter().filter(move |element| element.name == name)
    }

    fn of_class(&self, class: &str) -> impl Iterator<Item = &Element> {
        self.0.iter().filter(move |element| {
            element.attribute("class").is_some_and(|classes| classes.split(' ').any(|own| own == class))
        })
    }

    fn text(&self) -> &str {
        &self.all("body").next().expect("a page has a body").text
    }
}

impl Element {
    fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// Appends the elements below a node in the order of the page, and gives the text below it.
fn walk(node: &Handle, parent: &str, elements: &mut Vec<Element>) -> String {
    let below = |parent: &str, elements: &mut Vec<Element>| -> String {
        node.children.borrow().iter().map(|child| walk(child, parent, elements)).collect()
    };
    match &node.data {
        NodeData::Element { name, attrs, .. } => {
            let attributes = attrs.borrow();
            let attributes = attributes.iter().map(|a| (a.name.local.to_string(), a.value.to_string()));
            let name = name.local.to_string();
            let place = elements.len();
            elements.push(Element {
                name: name.clone(),
                attributes: attributes.collect(),
                text: String::new(),
                parent: parent.to_owned(),
            });
            let text = below(&name, elements);
            elements[place].text.clone_from(&text);
            text
        }
        NodeData::Text { contents } => contents.borrow().to_string(),
        _ => below(parent, elements),
    }
}

/// What every page keeps to, whatever is in it.
#[track_caller]
fn must_be_sound(page: &Page) {
    let allowed = BTreeSet::from([
        "html", "head", "meta", "title", "style", "body", "main", "header", "section", "div", "h1", "h2",
        "h3", "p", "span", "strong", "code", "ul", "ol", "li", "dl", "dt", "dd", "table", "caption",
        "colgroup", "col", "thead", "tbody", "tr", "th", "td", "br", "wbr", "a",
    ]);
    let attributes = BTreeSet::from([
        "lang",
        "charset",
        "name",
        "content",
        "http-equiv",
        "class",
        "id",
        "scope",
        "dir",
        "role",
        "tabindex",
        "aria-label",
        "href",
        "colspan",
    ]);
    for element in &page.0 {
        assert!(allowed.contains(element.name.as_str()), "<{}> in the page: {}", element.name, element.text);
        for (name, value) in &element.attributes {
            assert!(attributes.contains(name.as_str()), "<{} {name}={value:?}>", element.name);
            assert!(name != "href" || value.starts_with('#'), "the page leads outside: {value}");
        }
        if element.name == "th" {
            assert!(element.attribute("scope").is_some(), "a heading of nothing: {}", element.text);
        }
    }
    let style = &page.all("style").next().expect("a style").text;
    assert!(!style.contains("url(") && !style.contains("@import"), "the style fetches something");
    assert_eq!(page.all("html").next().and_then(|html| html.attribute("lang")), Some("en"));
    let levels: Vec<u8> = page
        .0
        .iter()
        .filter(|element| ["h1", "h2", "h3", "h4"].contains(&element.name.as_str()))
        .map(|element| element.name.as_bytes()[1] - b'0')
        .collect();
    assert_eq!(levels.first(), Some(&1));
    assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "headings leave a level out: {levels:?}");
    assert!(levels[1..].iter().all(|level| *level > 1), "more than one title");
    for text in page.0.iter().map(|element| &element.text) {
        let unseen = |c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!text.contains(unseen), "what cannot be seen is in {text:?}");
    }
}

/// A report of some kind as a real run wrote it.
struct Written {
    kind: &'static str,
    folder: PathBuf,
    json: Value,
}

impl Written {
    fn file(&self, extension: &str) -> PathBuf {
        let files = fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> =
            files.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
        // The report of the run, and behind it in the order of their lengths one of each target, where there are several.
        let targets = self.json["targets"].as_array().unwrap().len();
        let count = if targets > 1 { 1 + targets } else { 1 };
        assert_eq!(files.len(), count, ".{extension} in {}", self.folder.display());
        files.sort_by_key(|path| path.as_os_str().len());
        files.remove(0)
    }

    fn text(&self, extension: &str) -> String {
        fs::read_to_string(self.file(extension)).unwrap()
    }
}

/// Reports of every kind, made once; none where no practice disk can be made.
fn written() -> Option<&'static (Case, Vec<Written>)> {
    static WRITTEN: OnceLock<Option<(Case, Vec<Written>)>> = OnceLock::new();
    WRITTEN
        .get_or_init(|| {
            let case = Case::practice()?;
            let empty = case.path("empty.img");
            fs::write(&empty, vec![0; 1 << 20]).unwrap();
            let (empty, missing) = (empty.to_str().unwrap(), case.path("missing.img"));
            let store = case.store();
            let kept = ["--store", store.to_str().unwrap()];
            let mut all = Vec::new();
            let mut run = |kind: &'static str, code: i32, words: &[&str], options: &[&str]| {
                let folder = case.path(&format!("reports-{}", all.len()));
                let place = ["--json", "--report-dir", folder.to_str().unwrap()];
                let words: Vec<&str> = words.iter().chain(options).chain(&place).copied().collect();
                let json = Ran::of(&mut case.on_disk(&words)).exits(code).json();
                all.push(Written { kind, folder, json });
            };
            run("infected", 1, &["scan"], &[]);
            run("planned", 1, &["clean", "--dry-run"], &kept);
            run("cleaned", 0, &["clean", "--yes"], &kept);
            run("clean", 0, &["scan"], &[]);
            run("several disks, not all readable", 2, &["scan", empty, missing.to_str().unwrap()], &[]);
            run("undone", 0, &["undo", "--yes"], &kept);
            Some((case, all))
        })
        .as_ref()
}

fn show(case: &Case, file: &Path, format: &str) -> Ran {
    Ran::of(&mut case.command(&["report", "show", file.to_str().unwrap(), "--format", format]))
}

fn check(case: &Case, path: &Path) -> Ran {
    Ran::of(&mut case.command(&["report", "check", path.to_str().unwrap()]))
}

/// Stores a report of ours and gives its place.
fn store(case: &Case, name: &str, report: &Value) -> PathBuf {
    let path = case.path(name);
    fs::write(&path, serde_json::to_string_pretty(report).unwrap()).unwrap();
    path
}

#[test]
fn a_stored_report_is_shown_as_the_run_showed_it() {
    let Some((case, all)) = written() else { return };
    for report in all {
        let file = report.file("json");
        for (format, extension) in [("text", "txt"), ("json", "json"), ("html", "html")] {
            let shown = show(case, &file, format).exits(0);
            assert!(
                shown.stdout == report.text(extension) && shown.stderr.is_empty(),
                "{}: {format} differs from .{extension}:\n{}",
                report.kind,
                shown.stdout
            );
        }
        assert_eq!(serde_json::from_str::<Value>(&report.text("json")).unwrap(), report.json);
    }
    let in_store = case.runs().remove(0).join("report.json");
    let cleaned = all.iter().find(|report| report.kind == "cleaned").unwrap();
    assert_eq!(show(case, &in_store, "html").exits(0).stdout, cleaned.text("html"));
}

#[test]
fn the_page_says_what_the_report_says() {
    let Some((_, all)) = written() else { return };
    for report in all {
        let page = Page::read(&report.text("html"));
        must_be_sound(&page);
        let text = report.text("txt");
        // The text's first paragraph, without the breaks of its lines.
        let first = text.split("\n\n").nth(1).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        let of = |class: &str| page.of_class(class).map(|element| element.text.trim()).next().unwrap();
        let (word, sentence) = (of("word"), of("sentence"));
        assert!(
            first.contains(&format!(": {word} - {sentence}")),
            "{}: {first}\nis not {word}, {sentence}",
            report.kind
        );
        let place = |name: &str| page.0.iter().position(|element| element.name == name).unwrap();
        assert!(place("h1") < place("h2") && place("h1") < place("table"), "the verdict comes first");

        let rows: Vec<&str> = page.of_class("finding").map(|finding| finding.text.as_str()).collect();
        let installs = report.json["targets"].as_array().unwrap().iter();
        let installs: Vec<&Value> = installs.flat_map(|t| t["installs"].as_array().unwrap()).collect();
        let findings: Vec<&Value> =
            installs.iter().flat_map(|install| install["findings"].as_array().unwrap()).collect();
        assert_eq!(rows.len(), findings.len(), "{}", report.kind);
        for finding in findings {
            let words = |member: &str| finding[member].as_str().unwrap().replace('_', " ");
            let mut wanted = vec![words("check"), words("grade"), words("outcome")];
            for member in ["what", "where", "why", "action"] {
                wanted.extend(finding[member].as_str().map(str::to_owned));
            }
            let evidence = finding["evidence"].as_object().unwrap();
            for (name, fact) in
                evidence.iter().filter(|(name, _)| !["hive", "key", "value"].contains(&name.as_str()))
            {
                match fact.as_object() {
                    Some(states) => {
                        wanted.extend(states.values().map(|v| v.as_str().unwrap().replace('_', " ")))
                    }
                    None => wanted.push(fact.as_str().map_or_else(|| fact.to_string(), str::to_owned)),
                }
                assert!(!name.is_empty());
            }
            let has = |row: &&&str| wanted.iter().all(|words| row.contains(words.as_str()));
            assert!(rows.iter().any(|row| has(&row)), "{}: no row tells {finding:#}", report.kind);
        }
        let changes: Vec<&str> = page.of_class("change").map(|change| change.text.as_str()).collect();
        let told = report.json["changes"].as_array().unwrap();
        assert_eq!(changes.len(), told.len());
        for (row, change) in changes.iter().zip(told) {
            for member in ["path", "sha256_before", "sha256_after", "outcome"] {
                assert!(change[member].as_str().is_none_or(|words| row.contains(words)), "{row}: {change}");
            }
        }
        let steps: Vec<&Element> = page.all("li").filter(|item| item.parent == "ol").collect();
        assert_eq!(steps.len(), report.json["next_steps"].as_array().unwrap().len());
        let all_of_it = page.text();
        for member in ["hash", "run_id"] {
            assert!(report.json[member].as_str().is_none_or(|words| all_of_it.contains(words)), "{member}");
        }
        assert!(all_of_it.contains(env!("CARGO_PKG_VERSION")));
        for target in report.json["targets"].as_array().unwrap() {
            for member in ["path", "note"] {
                assert!(target[member].as_str().is_none_or(|words| all_of_it.contains(words)), "{target:#}");
            }
        }
    }
    let of = |kind: &str| Page::read(&all.iter().find(|report| report.kind == kind).unwrap().text("html"));
    let back = |kind: &str| of(kind).of_class("ways").map(|ways| ways.text.clone()).collect::<String>();
    assert!(back("cleaned").contains("deblast undo --store ") && back("cleaned").contains(" --run 0001-"));
    for kind in ["infected", "planned", "clean", "undone"] {
        assert_eq!(back(kind), "", "{kind}: nothing to take back");
    }
}

/// Texts that a disk may hold and that must stay texts.
const HOSTILE: [&str; 12] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "</style></title></table><h1>CLEAN</h1>",
    "\u{202e}exe.gnp\u{202c}",
    "\0\u{1b}[2J\r\n\t\u{85}\u{7f}",
    "&lt;b&gt;&amp;&#60;",
    "<!-- ",
    "]]><![CDATA[",
    "{{ report }}{% raw %}",
    "\u{feff}\u{2028}\u{200b}\u{61c}",
    "\u{5e9}\u{5dc}\u{5d5}\u{5dd}\\\u{fffe}\u{1f41b}",
];

/// Puts a hostile text into every text of the report that comes from elsewhere; gives how many.
fn poison(value: &mut Value, member: &str, count: &mut usize) {
    const OURS: &[&str] = &[
        "schema",
        "started",
        "finished",
        "kind",
        "verdict",
        "check",
        "grade",
        "outcome",
        "product_type",
        "patch",
        "dcom",
        "filter",
        "MS03-026",
        "MS03-039",
        "MS04-012",
        "run_id",
        "md5",
        "sha1",
        "sha256",
    ];
    match value {
        Value::Object(members) => members.iter_mut().for_each(|(name, value)| poison(value, name, count)),
        Value::Array(items) => items.iter_mut().for_each(|item| poison(item, member, count)),
        Value::String(text)
            if !OURS.contains(&member) && !member.starts_with("sha256") && member != "command" =>
        {
            text.push_str(HOSTILE[*count % HOSTILE.len()]);
            *count += 1;
        }
        _ => {}
    }
}

#[test]
fn no_name_becomes_part_of_the_page() {
    let Some((case, all)) = written() else { return };
    for (number, report) in all.iter().enumerate() {
        let usual: Vec<String> =
            Page::read(&report.text("html")).0.iter().map(|element| element.name.clone()).collect();
        // Each text meets each hostile one.
        for turn in 0..HOSTILE.len() {
            let mut poisoned = report.json.clone();
            let mut count = turn;
            poison(&mut poisoned, "", &mut count);
            assert!(count - turn > 20, "{}: only {count} texts", report.kind);
            let file = store(case, &format!("hostile-{number}-{turn}.json"), &rehashed(poisoned));
            let shown = show(case, &file, "html").exits(0);
            let page = Page::read(&shown.stdout);
            must_be_sound(&page);
            // Places where a path may be broken are the only elements that a name can bring.
            let found: Vec<&str> = page.0.iter().map(|element| element.name.as_str()).collect();
            let without = |name: &&str| !["wbr"].contains(name);
            // Backticks in a step make a command of what they surround; nothing here has one.
            assert!(
                found
                    .iter()
                    .copied()
                    .filter(|name| without(name))
                    .eq(usual.iter().map(String::as_str).filter(without)),
                "{}, turn {turn}: other elements than without the names",
                report.kind
            );
            let text = page.text();
            for hostile in [HOSTILE[0], HOSTILE[1], HOSTILE[2], HOSTILE[3], HOSTILE[6], "\\u{202e}exe.gnp"] {
                assert!(
                    text.contains(hostile),
                    "{}, turn {turn}: {hostile} is not shown as it is",
                    report.kind
                );
            }
        }
    }
}

#[test]
fn damage_is_told() {
    let Some((case, all)) = written() else { return };
    let report = all.iter().find(|report| report.kind == "cleaned").unwrap();
    let sound = report.text("json");
    let file = case.path("damaged.json");
    let with = |content: &[u8]| {
        fs::write(&file, content).unwrap();
        check(case, &file)
    };
    with(sound.as_bytes()).exits(0).says("sound: cleaned");
    // Any single digit or letter of any text: a stick that has lost a bit.
    let places: Vec<usize> = sound.match_indices("msblast").map(|(place, _)| place).collect();
    assert!(places.len() > 4);
    for place in places {
        let mut bytes = sound.clone().into_bytes();
        bytes[place] ^= 1;
        with(&bytes).exits(1).says("damaged: expected the hash sha256:");
    }
    for end in [0, 1, sound.len() / 2, sound.len() - 3] {
        with(&sound.as_bytes()[..end]).exits(1).says("damaged");
    }
    with(b"").exits(1).says("empty: the run that made the file did not come to its report");
    with(b"\xff\xfe\0").exits(1).says("no JSON document");
    let mut altered = report.json.clone();
    altered["verdict"] = json!("clean");
    let path = store(case, "altered.json", &altered);
    let text = show(case, &path, "text").exits(1);
    text.says("warning: this report is not as it was written");
    text.require(text.stdout.starts_with("WARNING: this report is not"), "the warning on the report itself");
    let page = Page::read(&show(case, &path, "html").exits(1).stdout);
    let warnings: Vec<&Element> = page.of_class("warning").collect();
    assert!(warnings.len() == 1 && warnings[0].text.contains("Do not rely on this page"));
    must_be_sound(&page);
    fs::write(&file, &sound[..100]).unwrap();
    show(case, &file, "html").exits(2).says("damaged.json").says("its end is missing");

    let mut later = report.json.clone();
    later["schema"] = json!("deblast.report/2");
    let path = store(case, "later.json", &rehashed(later));
    check(case, &path).exits(2).says("a later version of Deblast wrote");
    show(case, &path, "text").exits(2).says("a later version of Deblast wrote");
    check(case, &case.path("nowhere.json")).exits(2).says("unreadable").says("nowhere.json");
    show(case, &case.path("nowhere.json"), "text").exits(2).says("No such file");
    let mut other = report.json.clone();
    other["schema"] = json!("somebody.else/1");
    check(case, &store(case, "other.json", &rehashed(other))).exits(1).says("found somebody.else/1");
}

#[test]
fn folders_are_checked_file_by_file() {
    let Some((case, all)) = written() else { return };
    let runs = case.runs();
    let stored = check(case, &case.store()).exits(0);
    let reports = runs.iter().filter(|run| run.join("report.json").exists()).count();
    assert!(reports >= 1 && stored.stdout.lines().count() == reports, "{}", stored.stdout);
    check(case, &runs[0]).exits(0).says("report.json: sound: cleaned");
    let folder = case.path("mixed");
    fs::create_dir(&folder).unwrap();
    check(case, &folder).exits(2).says("no report in this folder");
    fs::copy(all[0].file("json"), folder.join("a.json")).unwrap();
    fs::copy(all[0].file("html"), folder.join("a.html")).unwrap();
    fs::write(folder.join("b.json"), "{").unwrap();
    let mixed = check(case, &folder).exits(1);
    let lines: Vec<&str> = mixed.stdout.lines().collect();
    assert!(
        lines.len() == 2 && lines[0].contains("a.json: sound") && lines[1].contains("b.json: damaged"),
        "{lines:?}"
    );
    std::os::unix::fs::symlink("nowhere", folder.join("c.json")).unwrap();
    let worst = check(case, &folder).exits(2);
    worst.says("c.json: unreadable").says("b.json: damaged").says("a.json: sound");
}

/// Every object of a report and the part of the schema that it must be as.
fn objects(schema: &Value, part: &Value, value: &Value, at: &str, found: &mut Vec<(String, Value)>) {
    let part = match part["$ref"].as_str() {
        Some(name) => schema.pointer(name.trim_start_matches('#')).unwrap(),
        None => part,
    };
    match value {
        Value::Object(members) => {
            found.push((at.to_owned(), part.clone()));
            for (name, value) in members {
                objects(schema, &part["properties"][name], value, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| {
            objects(schema, &part["items"], item, &format!("{at}/{index}"), found);
        }),
        _ => {}
    }
}

#[test]
fn a_member_may_be_missing_only_where_the_schema_says_so() {
    let Some((case, all)) = written() else { return };
    let report = all.iter().find(|report| report.kind == "cleaned").unwrap();
    let text = fs::read_to_string(Path::new(ROOT).join("docs/report-1.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&text).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut found = Vec::new();
    objects(&schema, &schema, &report.json, "", &mut found);
    let (mut required, mut free) = (0, 0);
    let folder = case.path("missing-members");
    fs::create_dir(&folder).unwrap();
    let mut expected = Vec::new();
    for (at, part) in found {
        // A digest is told with its companions or not at all; what was asked is free.
        if at.ends_with("/evidence") || at.starts_with("/options") {
            continue;
        }
        let names: Vec<String> = part["properties"].as_object().unwrap().keys().cloned().collect();
        for name in names {
            let mut less = report.json.clone();
            less.pointer_mut(&at).unwrap().as_object_mut().unwrap().remove(&name);
            if name != "hash" {
                less = rehashed(less);
            }
            let path = folder.join(format!("{:04}.json", expected.len()));
            fs::write(&path, serde_json::to_vec(&less).unwrap()).unwrap();
            let valid = validator.is_valid(&less);
            *(if valid { &mut free } else { &mut required }) += 1;
            expected.push((valid, format!("{at} without {name}")));
        }
    }
    let told = check(case, &folder).exits(1);
    let lines: Vec<&str> = told.stdout.lines().collect();
    assert_eq!(lines.len(), expected.len());
    for (line, (valid, what)) in lines.iter().zip(&expected) {
        assert_eq!(line.contains(": sound: "), *valid, "{what}: {line}");
    }
    assert!(required > 60 && free > 10, "{required} required, {free} free");

    for (member, word) in [
        ("verdict", json!("fine")),
        ("exit_code", json!(3)),
        ("started", json!("yesterday")),
        ("finished", json!("")),
        ("options", json!("none")),
        ("targets", json!({})),
        ("hash", json!("sha256:0")),
    ] {
        let mut wrong = report.json.clone();
        wrong[member] = word.clone();
        let wrong = if member == "hash" { wrong } else { rehashed(wrong) };
        check(case, &store(case, "wrong.json", &wrong)).exits(1).says("damaged");
    }

    // Members of a later version of the same schema are no damage.
    let mut more = report.json.clone();
    more["targets"][0]["novelty"] = json!({ "of": 1 });
    let path = store(case, "more.json", &rehashed(more));
    check(case, &path).exits(0).says("sound");
    assert_eq!(show(case, &path, "text").exits(0).stdout, report.text("txt").to_owned());
}

#[test]
fn no_file_of_a_report_is_overwritten() {
    let Some(case) = Case::practice() else { return };
    let folder = case.path("reports");
    fs::create_dir(&folder).unwrap();
    let place = folder.to_str().unwrap();
    let scan = || Ran::of(&mut case.on_disk(&["scan", "--report-dir", place])).exits(1);
    let names = || -> BTreeSet<String> {
        fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    };
    scan();
    let first = names();
    assert_eq!(first.len(), 3, "{first:?}");
    // Somebody has a page of every name that the next run could take by the clock; of each only that one file.
    let now = jiff::Timestamp::now();
    let mut taken = Vec::new();
    for second in 0..30 {
        let time = now + jiff::SignedDuration::from_secs(second);
        let path = folder.join(format!("deblast-{}.html", time.strftime("%Y%m%d-%H%M%S")));
        if !path.exists() {
            fs::write(&path, "somebody's").unwrap();
            taken.push(path);
        }
    }
    assert!(taken.len() >= 29);
    let before = names();
    scan();
    let after = names();
    let news: Vec<&String> = after.difference(&before).collect();
    assert_eq!(news.len(), 3, "a name of its own for all three, and nothing left behind: {news:?}");
    assert!(news.iter().all(|name| name.contains("-2.")), "{news:?}");
    assert!(taken.iter().all(|path| fs::read(path).unwrap() == b"somebody's"));
}
