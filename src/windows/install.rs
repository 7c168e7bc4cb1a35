//! Finds Windows installs and tells which they are. The proof of an install are its two hives in `system32\config`;
//! the name of the system root may be anything.

use serde::{Deserialize, Serialize};

use crate::change::{HiveRole, ValueData, ValueType, utf16_units};
use crate::error::Result;
use crate::hive::Hive;
use crate::path::{RegPath, WinPath, same_name};
use crate::windows::control_set::Select;

/// Names of the hive files below `system32\config`.
const HIVES: [(&str, HiveRole); 3] = [
    ("software", HiveRole::Software),
    ("system", HiveRole::System),
    ("system.alt", HiveRole::SystemAlternate),
];
/// A user's hive in the folder of the profile.
const USER_HIVE: &str = "ntuser.dat";
/// The hive of the system's own account, in `system32\config`: HKEY_CURRENT_USER of whatever runs as that, and of a worm
/// that came through a service.
const SYSTEM_USER_HIVE: &str = "default";

/// The system root and the hive that a path names, if it is `ROOT\system32\config\software` or `...\system`, letters
/// folded. ROOT is one folder in the volume's root, as every setup of these Windows makes it.
pub fn config_hive(path: &WinPath) -> Option<(WinPath, HiveRole)> {
    let parts: Vec<&str> = path.parts().collect();
    let &[root, system32, config, file] = parts.as_slice() else { return None };
    let role = HIVES.iter().find(|(name, _)| same_name(name, file))?.1.clone();
    (same_name(system32, "system32") && same_name(config, "config")).then(|| (WinPath::new(root), role))
}

/// Whether a path is that of a user's hive: `NTUSER.DAT` in a folder, or `ROOT\system32\config\default`.
pub fn is_user_hive(path: &WinPath) -> bool {
    let parts: Vec<&str> = path.parts().collect();
    match parts.as_slice() {
        [_, system32, config, file] if same_name(file, SYSTEM_USER_HIVE) => {
            same_name(system32, "system32") && same_name(config, "config")
        }
        [_, .., file] => same_name(file, USER_HIVE),
        _ => false,
    }
}

/// Which hive a file is by its path, whichever install it belongs to.
pub fn hive_role(path: &WinPath) -> Option<HiveRole> {
    let user = || is_user_hive(path).then(|| HiveRole::User(path.clone()));
    config_hive(path).map(|(_, role)| role).or_else(user)
}

/// Whether a file of this name may be a hive that [`config_hive`] or [`is_user_hive`] asks for.
pub fn may_be_hive(name: &str) -> bool {
    let users = [USER_HIVE, SYSTEM_USER_HIVE];
    HIVES.iter().map(|(known, _)| *known).chain(users).any(|known| same_name(known, name))
}

/// What kind of machine the product is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProductType {
    /// ProductType WinNT.
    Workstation,
    /// ProductType ServerNT.
    Server,
    /// ProductType LanmanNT.
    DomainController,
}

/// Which Windows an install is. What could not be read is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// ProductName, or what CurrentVersion makes of it: NT 4.0 has none.
    pub product: Option<String>,
    /// CurrentVersion: `5.1`.
    pub version: Option<String>,
    /// CurrentBuildNumber: `2600`.
    pub build: Option<String>,
    /// Service pack number by SOFTWARE's CSDVersion; 0 where none is installed.
    pub service_pack: Option<u32>,
    /// Service pack number by SYSTEM's CSDVersion.
    pub service_pack_of_system: Option<u32>,
    /// ProductType.
    pub product_type: Option<ProductType>,
    /// ProductSuite; empty where the value is missing, none where its key could not be read.
    pub suites: Option<Vec<String>>,
    /// Name of the machine.
    pub computer_name: Option<String>,
    /// Letter of the drive that SystemRoot names.
    pub drive: Option<char>,
    /// Where the registry contradicts itself, in words.
    pub contradictions: Vec<String>,
}

/// What one control set tells.
#[derive(Debug, Default, PartialEq, Eq)]
struct OfSet {
    service_pack: Option<u32>,
    product_type: Option<ProductType>,
    suites: Option<Vec<String>>,
    computer_name: Option<String>,
}

impl OfSet {
    fn read(system: &Hive, set: &RegPath) -> Result<Self> {
        let value = |below: &str, name: &str| -> Result<Option<ValueData>> {
            let Some(key) = system.key(&set.join(below))? else { return Ok(None) };
            key.value(name)?.map(|value| value.data()).transpose()
        };
        let text = |below: &str, name: &str| Ok(value(below, name)?.and_then(|data| data.text()));
        const OPTIONS: &str = "Control\\ProductOptions";
        let suites = match system.key(&set.join(OPTIONS))? {
            Some(_) => Some(value(OPTIONS, "ProductSuite")?.map(|data| strings(&data)).unwrap_or_default()),
            None => None,
        };
        Ok(Self {
            // 0x0n00: the service pack's number stands in the higher byte.
            service_pack: value("Control\\Windows", "CSDVersion")?
                .and_then(|data| data.dword())
                .map(|number| number >> 8 & 0xff),
            product_type: text(OPTIONS, "ProductType")?.and_then(|kind| {
                [
                    ("WinNT", ProductType::Workstation),
                    ("ServerNT", ProductType::Server),
                    ("LanmanNT", ProductType::DomainController),
                ]
                .into_iter()
                .find_map(|(name, kind_of)| same_name(name, &kind).then_some(kind_of))
            }),
            suites,
            computer_name: text("Control\\ComputerName\\ComputerName", "ComputerName")?,
        })
    }
}

/// The strings of a REG_MULTI_SZ, up to the first empty one; of another type none.
fn strings(data: &ValueData) -> Vec<String> {
    if data.kind != ValueType::MULTI_SZ {
        return Vec::new();
    }
    let units: Vec<u16> = utf16_units(&data.data).collect();
    let parts = units.split(|&unit| unit == 0).take_while(|part| !part.is_empty());
    parts.map(String::from_utf16_lossy).collect()
}

impl Identity {
    /// Takes over what the SOFTWARE hive tells.
    ///
    /// # Errors
    /// One of the values is damaged.
    pub fn read_software(&mut self, software: &Hive) -> Result<()> {
        let path = RegPath::new("Microsoft\\Windows NT\\CurrentVersion");
        let Some(key) = software.key(&path)? else { return Ok(()) };
        let value = |name: &str| -> Result<Option<ValueData>> {
            key.value(name)?.map(|value| value.data()).transpose()
        };
        let text = |name: &str| Ok(value(name)?.and_then(|data| data.text()));
        self.version = text("CurrentVersion")?;
        self.build = text("CurrentBuildNumber")?;
        let by_version = match self.version.as_deref() {
            Some("4.0") => "Microsoft Windows NT 4.0",
            Some("5.0") => "Microsoft Windows 2000",
            Some("5.1") => "Microsoft Windows XP",
            Some("5.2") => "Microsoft Windows Server 2003",
            _ => "Windows",
        };
        self.product = text("ProductName")?.or_else(|| Some(by_version.to_owned()));
        self.service_pack = match value("CSDVersion")? {
            None => Some(0),
            Some(csd) => csd.text().and_then(|csd| service_pack_number(&csd)),
        };
        self.drive = text("SystemRoot")?.and_then(|root| {
            let mut chars = root.chars();
            let letter = chars.next().filter(char::is_ascii_alphabetic)?;
            (chars.next() == Some(':')).then(|| letter.to_ascii_uppercase())
        });
        self.compare_service_packs();
        Ok(())
    }

    /// Takes over what the SYSTEM hive tells: by the control set that was in use last. Where the one that starts next
    /// says otherwise, that is a contradiction.
    ///
    /// # Errors
    /// One of the values is damaged.
    pub fn read_system(&mut self, system: &Hive, select: &Select) -> Result<()> {
        let mut sets = select.sets();
        let Some(first) = sets.next() else { return Ok(()) };
        let told = OfSet::read(system, &first)?;
        for other in sets {
            let also = OfSet::read(system, &other)?;
            // What the other set lacks altogether contradicts nothing.
            let differs = |a: Option<String>, b: Option<String>| a.is_some() && b.is_some() && a != b;
            let shown = |set: &OfSet| {
                (
                    set.service_pack.map(|number| number.to_string()),
                    set.product_type.map(|kind| format!("{kind:?}")),
                    set.suites.as_ref().map(|suites| suites.join(", ")),
                )
            };
            let ((pack, kind, suites), (its_pack, its_kind, its_suites)) = (shown(&told), shown(&also));
            for (name, here, there) in [
                ("CSDVersion", pack, its_pack),
                ("ProductType", kind, its_kind),
                ("ProductSuite", suites, its_suites),
            ] {
                if differs(here.clone(), there.clone()) {
                    self.contradictions.push(format!(
                        "{name} of {} is {}, and of {}, which starts next, {}",
                        first,
                        here.unwrap_or_default(),
                        other,
                        there.unwrap_or_default()
                    ));
                }
            }
        }
        self.service_pack_of_system = told.service_pack;
        self.product_type = told.product_type;
        self.suites = told.suites;
        self.computer_name = told.computer_name;
        self.compare_service_packs();
        Ok(())
    }

    fn compare_service_packs(&mut self) {
        if let (Some(software), Some(system)) = (self.service_pack, self.service_pack_of_system)
            && software != system
        {
            self.contradictions.push(format!(
                "the service pack is {software} by SOFTWARE and {system} by SYSTEM: one may have been installed in part"
            ));
        }
    }

    /// The service pack that both hives agree on, or that the one of them tells that tells one.
    pub fn agreed_service_pack(&self) -> Option<u32> {
        match (self.service_pack, self.service_pack_of_system) {
            (Some(software), Some(system)) if software != system => None,
            (software, system) => software.or(system),
        }
    }

    /// Whether this is a Terminal Server Edition (NT 4.0) or runs Terminal Services (later): by ProductSuite, as
    /// Microsoft's own example for programs asks.
    pub fn is_terminal_server(&self) -> Option<bool> {
        let suites = self.suites.as_ref()?;
        Some(suites.iter().any(|suite| same_name(suite, "Terminal Server")))
    }

    /// Whether this Windows keeps a mirror of SYSTEM in SYSTEM.ALT: NT 4.0 and 2000 do, XP and later do not. None where
    /// the version could not be read.
    pub fn keeps_alternate(&self) -> Option<bool> {
        self.version.as_deref().map(|version| matches!(version, "4.0" | "5.0"))
    }

    /// Whether this Windows acts on EnableDCOM: Windows 2000 does from Service Pack 3 on (KB825750, MS03-039), the
    /// others always. None where the version or service pack could not be read, or the hives disagree about it.
    pub fn honours_enable_dcom(&self) -> Option<bool> {
        match self.version.as_deref()? {
            "5.0" => Some(self.agreed_service_pack()? >= 3),
            "4.0" | "5.1" | "5.2" => Some(true),
            _ => None,
        }
    }

    /// The product's name, that of its edition where the registry tells one apart.
    pub fn product_name(&self) -> Option<String> {
        let edition = match (self.version.as_deref(), self.is_terminal_server()) {
            (Some("4.0"), Some(true)) => ", Terminal Server Edition",
            _ => "",
        };
        self.product.as_ref().map(|product| format!("{product}{edition}"))
    }

    /// Product and service pack for showing.
    pub fn title(&self) -> String {
        let product = self.product_name().unwrap_or_else(|| "Windows, version not readable".to_owned());
        match self.service_pack {
            Some(0) | None => product,
            Some(number) => format!("{product} Service Pack {number}"),
        }
    }
}

/// The number in a CSDVersion: `Service Pack 6a` and `Service Pack 2, v.2055` have one too. None is an empty text.
fn service_pack_number(csd: &str) -> Option<u32> {
    if csd.trim().is_empty() {
        return Some(0);
    }
    let rest = csd.trim().strip_prefix("Service Pack ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|number| number.parse().ok())
}

#[cfg(test)]
mod tests;
