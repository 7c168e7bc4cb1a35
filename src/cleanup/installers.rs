//! Which update a Windows needs against the worm's hole, by the name that its bulletin prints, and how it is started.
//! Names and switches are those of MS04-012 (KB828741), which contains MS03-026 and MS03-039 and asks for the service
//! packs named here. Nothing of it is shipped: the technician brings the file.

use crate::cleanup::report::InstallReport;
use crate::finding::PatchState;
use crate::path::same_name;
use crate::windows::install::ProductType;

/// The step that brings the patch to this install, where there is one to be named.
pub(super) fn advice(install: &InstallReport) -> Option<String> {
    let update = update(install)?;
    match install.hole.patch {
        PatchState::Vulnerable | PatchState::NotEstablished => {
            Some(format!("{}: {update}", install.system_root))
        }
        PatchState::Fixed => {
            let bulletins = install.findings.iter().find_map(|finding| finding.facts.bulletins)?;
            let also: Vec<&str> = [("MS03-039", bulletins.ms03_039), ("MS04-012", bulletins.ms04_012)]
                .into_iter()
                .filter_map(|(name, state)| (state != PatchState::Fixed).then_some(name))
                .collect();
            (!also.is_empty()).then(|| {
                format!(
                    "{}: the hole of MS03-026 is closed, later ones of the same service ({}) are not, or it cannot be told. {update}",
                    install.system_root,
                    also.join(", ")
                )
            })
        }
    }
}

/// What to install and how.
fn update(install: &InstallReport) -> Option<String> {
    let version = install.version.as_deref()?;
    let pack = install.service_pack?;
    // Of NT 4.0 there is one for each product.
    let nt4 = || {
        let suites = install.product_suites.as_deref().unwrap_or_default();
        if suites.iter().any(|suite| same_name(suite, "Terminal Server")) {
            return "Windowsnt4terminalserver-kb828741-x86-enu";
        }
        match install.product_type {
            Some(ProductType::Workstation) => "Windowsnt4workstation-kb828741-x86-enu",
            _ => "Windowsnt4server-kb828741-x86-enu",
        }
    };
    let quiet = |name: &str, switches: &str, other: &str| {
        Some(format!(
            "install the update KB828741 (MS04-012, which contains MS03-026 and MS03-039) with `{name} {switches}`, then restart; \
             -enu is the English one, take that of this Windows' language{other}"
        ))
    };
    match (version, pack) {
        ("4.0", 6..) => quiet(nt4(), "/q /z", ""),
        ("4.0", _) => {
            Some("install Service Pack 6a first, which the updates ask for, and then KB828741".to_owned())
        }
        ("5.0", 2..) => {
            let rollup = match pack {
                4.. => "; Update Rollup 1 for Service Pack 4 contains it too",
                _ => "",
            };
            quiet("Windows2000-kb828741-x86-enu", "/quiet /norestart", rollup)
        }
        ("5.0", _) => Some(
            "install Service Pack 4 first, since the updates ask for 2 to 4, and then KB828741".to_owned(),
        ),
        ("5.1", 0 | 1) => quiet(
            "Windowsxp-kb828741-x86-enu",
            "/quiet /norestart",
            "; Service Pack 2 or later contains it too",
        ),
        ("5.2", 0) => quiet(
            "Windowsserver2003-kb828741-x86-enu",
            "/quiet /norestart",
            "; Service Pack 1 or later contains it too",
        ),
        ("5.1" | "5.2", _) => Some(format!(
            "Service Pack {pack} contains the fix, but not all files are its own: install it again"
        )),
        _ => None,
    }
}
