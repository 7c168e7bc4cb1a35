//! Each system told by hives that the regf crate has written.

use regf::{DataType, HiveBuilder, KeyTreeNode, KeyTreeValue};

use super::*;

/// A value: name, type and data.
type Told<'a> = (&'a str, DataType, Vec<u8>);

fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn sz<'a>(name: &'a str, text: &str) -> Told<'a> {
    (name, DataType::String, wide(&format!("{text}\0")))
}

fn dword(name: &str, number: u32) -> Told<'_> {
    (name, DataType::Dword, number.to_le_bytes().to_vec())
}

fn multi<'a>(name: &'a str, strings: &[&str]) -> Told<'a> {
    (
        name,
        DataType::MultiString,
        wide(&strings.iter().map(|s| format!("{s}\0")).chain(["\0".into()]).collect::<String>()),
    )
}

/// A hive of regf 1.`minor` with these values below these keys.
fn hive(minor: u32, keys: &[(&str, Vec<Told<'_>>)]) -> Hive {
    let mut root = KeyTreeNode::new("$$$PROTO.HIV");
    for (path, values) in keys {
        let node = root.get_or_create_path(path);
        for (name, data_type, data) in values {
            node.values.push(KeyTreeValue {
                name: (*name).to_owned(),
                data_type: *data_type,
                data: data.clone(),
            });
        }
    }
    Hive::parse(HiveBuilder::from_tree_with_version(root, 1, minor).unwrap().build().unwrap()).unwrap()
}

fn software(minor: u32, version: &str, build: &str, more: Vec<Told<'_>>) -> Hive {
    let mut values =
        vec![sz("CurrentVersion", version), sz("CurrentBuildNumber", build), sz("SystemRoot", "D:\\WINNT")];
    values.extend(more);
    hive(minor, &[("Microsoft\\Windows NT\\CurrentVersion", values)])
}

/// One control set: its number, CSDVersion, ProductType and ProductSuite.
fn set<'a>(number: u32, csd: u32, kind: &str, suites: &[&str]) -> Vec<(String, Vec<Told<'a>>)> {
    let at = |below: &str| format!("ControlSet{number:03}\\Control\\{below}");
    vec![
        (at("Windows"), vec![dword("CSDVersion", csd)]),
        (at("ProductOptions"), vec![sz("ProductType", kind), multi("ProductSuite", suites)]),
        (at("ComputerName\\ComputerName"), vec![sz("ComputerName", "BENCH")]),
    ]
}

fn system(minor: u32, select: (u32, u32), sets: Vec<(String, Vec<Told<'_>>)>) -> Hive {
    let mut keys = vec![("Select".to_owned(), vec![dword("Current", select.0), dword("Default", select.1)])];
    keys.extend(sets);
    let keys: Vec<(&str, Vec<Told<'_>>)> =
        keys.iter().map(|(path, values)| (path.as_str(), values.clone())).collect();
    hive(minor, &keys)
}

fn identity(software: &Hive, system: &Hive) -> Identity {
    let mut identity = Identity::default();
    identity.read_software(software).unwrap();
    identity.read_system(system, &Select::read(system).unwrap()).unwrap();
    identity
}

#[test]
fn each_system_is_told_by_its_own_hives() {
    use ProductType::{DomainController, Server, Workstation};
    let csd = |text: &str| vec![sz("CSDVersion", text)];
    let product = |name: &str, mut more: Vec<Told<'static>>| {
        more.push(sz("ProductName", name));
        more
    };
    let mut all = Vec::new();
    for (minor, version, build, more, pack, kind, suites) in [
        (3, "4.0", "1381", csd("Service Pack 6"), 6, "WinNT", &[][..]),
        (3, "4.0", "1381", csd("Service Pack 6a"), 6, "LanmanNT", &[]),
        (3, "4.0", "1381", csd("Service Pack 6"), 6, "ServerNT", &["Terminal Server"]),
        (3, "5.0", "2195", product("Microsoft Windows 2000", csd("Service Pack 2")), 2, "WinNT", &[]),
        (3, "5.0", "2195", product("Microsoft Windows 2000", csd("Service Pack 4")), 4, "ServerNT", &[]),
        (5, "5.1", "2600", product("Microsoft Windows XP", csd("")), 0, "WinNT", &["Personal"]),
        (5, "5.1", "2600", product("Microsoft Windows XP", csd("Service Pack 2, v.2055")), 2, "WinNT", &[]),
        (
            5,
            "5.2",
            "3790",
            product("Microsoft Windows Server 2003", vec![]),
            0,
            "ServerNT",
            &["Terminal Server"],
        ),
    ] {
        let software = software(minor, version, build, more);
        let system = system(minor, (1, 1), set(1, pack << 8, kind, suites));
        let told = identity(&software, &system);
        assert_eq!((told.version.as_deref(), told.build.as_deref()), (Some(version), Some(build)));
        assert_eq!((told.agreed_service_pack(), told.service_pack_of_system), (Some(pack), Some(pack)));
        assert_eq!((told.drive, told.computer_name.as_deref()), (Some('D'), Some("BENCH")));
        assert!(told.contradictions.is_empty(), "{:?}", told.contradictions);
        all.push((
            told.title(),
            told.product_type.unwrap(),
            told.is_terminal_server(),
            told.honours_enable_dcom(),
        ));
    }
    let named =
        |title: &str, kind, terminal, honours| (title.to_owned(), kind, Some(terminal), Some(honours));
    assert_eq!(
        all,
        [
            named("Microsoft Windows NT 4.0 Service Pack 6", Workstation, false, true),
            named("Microsoft Windows NT 4.0 Service Pack 6", DomainController, false, true),
            named("Microsoft Windows NT 4.0, Terminal Server Edition Service Pack 6", Server, true, true),
            named("Microsoft Windows 2000 Service Pack 2", Workstation, false, false),
            named("Microsoft Windows 2000 Service Pack 4", Server, false, true),
            named("Microsoft Windows XP", Workstation, false, true),
            named("Microsoft Windows XP Service Pack 2", Workstation, false, true),
            named("Microsoft Windows Server 2003", Server, true, true),
        ]
    );
}

#[test]
fn hives_that_disagree_about_the_service_pack_settle_nothing() {
    let software = software(3, "5.0", "2195", vec![sz("CSDVersion", "Service Pack 3")]);
    let told = identity(&software, &system(3, (1, 1), set(1, 0x200, "WinNT", &[])));
    assert_eq!((told.service_pack, told.service_pack_of_system), (Some(3), Some(2)));
    assert_eq!((told.agreed_service_pack(), told.honours_enable_dcom()), (None, None));
    assert!(told.contradictions[0].contains("3 by SOFTWARE and 2 by SYSTEM"), "{:?}", told.contradictions);
}

#[test]
fn a_service_pack_that_is_no_text_is_unknown_and_no_zero() {
    let software = software(5, "5.1", "2600", vec![dword("CSDVersion", 0x100)]);
    let mut told = Identity::default();
    told.read_software(&software).unwrap();
    assert_eq!((told.service_pack, told.agreed_service_pack()), (None, None));
    for (text, number) in
        [("Service Pack 4", Some(4)), ("RC 1", None), ("Service Pack x", None), (" ", Some(0))]
    {
        assert_eq!(service_pack_number(text), number, "{text:?}");
    }
}

#[test]
fn the_set_in_use_is_believed_and_the_next_one_that_differs_is_told() {
    let sets = || [set(1, 0x400, "ServerNT", &["Terminal Server"]), set(2, 0x300, "WinNT", &[])].concat();
    let software = software(3, "5.0", "2195", vec![sz("CSDVersion", "Service Pack 4")]);
    let told = identity(&software, &system(3, (1, 2), sets()));
    assert_eq!((told.product_type, told.is_terminal_server()), (Some(ProductType::Server), Some(true)));
    let words = told.contradictions.join("\n");
    for part in [
        "CSDVersion of ControlSet001 is 4",
        "ProductType of",
        "ProductSuite of",
        "ControlSet002, which starts next",
    ] {
        assert!(words.contains(part), "{words}");
    }
    assert!(identity(&software, &system(3, (1, 1), sets())).contradictions.is_empty(), "set 2 is not asked");
    // A set that Select names and that is not there contradicts nothing.
    let told = identity(&software, &system(3, (1, 3), sets()));
    assert_eq!((told.contradictions.len(), told.product_type), (0, Some(ProductType::Server)));
    let told = identity(&software, &system(3, (7, 7), sets()));
    assert_eq!(
        (told.product_type, told.is_terminal_server(), told.agreed_service_pack()),
        (None, None, Some(4))
    );
}

#[test]
fn knows_a_config_hive_by_its_place() {
    let found = config_hive(&WinPath::new("WinXP\\SYSTEM32\\Config\\Software"));
    assert_eq!(found, Some((WinPath::new("WINXP"), HiveRole::Software)));
    let found = config_hive(&WinPath::new("WINNT\\system32\\config\\system.ALT"));
    assert_eq!(found, Some((WinPath::new("WINNT"), HiveRole::SystemAlternate)));
    let user = WinPath::new("Documents and Settings\\x\\ntuser.dat");
    assert_eq!(hive_role(&user), Some(HiveRole::User(user)));
    assert_eq!(hive_role(&WinPath::new("ntuser.dat")), None);
    let system = WinPath::new("WINNT\\system32\\config\\DEFAULT");
    assert_eq!(hive_role(&system), Some(HiveRole::User(system)));
    assert_eq!(hive_role(&WinPath::new("WINNT\\system32\\default")), None);
    assert_eq!(config_hive(&WinPath::new("WINDOWS\\repair\\software")), None);
    assert_eq!(config_hive(&WinPath::new("a\\WINDOWS\\system32\\config\\system")), None);
}

#[test]
fn windows_2000_honours_enable_dcom_from_sp3_on() {
    let at = |version: &str, service_pack| {
        Identity { version: Some(version.to_owned()), service_pack, ..Identity::default() }
            .honours_enable_dcom()
    };
    assert_eq!(at("5.0", Some(2)), Some(false));
    assert_eq!(at("5.0", Some(3)), Some(true));
    assert_eq!(at("5.0", None), None);
    assert_eq!(at("5.1", None), Some(true));
    assert_eq!(at("6.1", Some(1)), None);
}
