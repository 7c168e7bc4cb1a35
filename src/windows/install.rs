//! Finds Windows installs and tells which they are. The proof of an install are its two hives in `system32\config`;
//! the name of the system root may be anything.

use serde::{Deserialize, Serialize};

use crate::change::HiveRole;
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

/// The system root and the hive that a path names, if it is `ROOT\system32\config\software` or `...\system`, letters
/// folded. ROOT is one folder in the volume's root, as every setup of these Windows makes it.
pub fn config_hive(path: &WinPath) -> Option<(WinPath, HiveRole)> {
    let parts: Vec<&str> = path.parts().collect();
    let &[root, system32, config, file] = parts.as_slice() else { return None };
    let role = HIVES.iter().find(|(name, _)| same_name(name, file))?.1.clone();
    (same_name(system32, "system32") && same_name(config, "config")).then(|| (WinPath::new(root), role))
}

/// Whether a path is that of a user's hive: `NTUSER.DAT` in a folder.
pub fn is_user_hive(path: &WinPath) -> bool {
    same_name(path.file_name(), USER_HIVE) && path.parts().count() > 1
}

/// Which hive a file is by its path, whichever install it belongs to.
pub fn hive_role(path: &WinPath) -> Option<HiveRole> {
    let user = || is_user_hive(path).then(|| HiveRole::User(path.clone()));
    config_hive(path).map(|(_, role)| role).or_else(user)
}

/// Whether a file of this name may be a hive that [`config_hive`] or [`is_user_hive`] asks for.
pub fn may_be_hive(name: &str) -> bool {
    HIVES.iter().map(|(known, _)| *known).chain([USER_HIVE]).any(|known| same_name(known, name))
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
    /// ProductName.
    pub product: Option<String>,
    /// CurrentVersion: `5.1`.
    pub version: Option<String>,
    /// CurrentBuildNumber: `2600`.
    pub build: Option<String>,
    /// Service pack number; 0 where none is installed.
    pub service_pack: Option<u32>,
    /// ProductType.
    pub product_type: Option<ProductType>,
    /// Name of the machine.
    pub computer_name: Option<String>,
    /// Letter of the drive that SystemRoot names.
    pub drive: Option<char>,
}

impl Identity {
    /// Takes over what the SOFTWARE hive tells.
    pub fn read_software(&mut self, software: &Hive) -> Result<()> {
        let path = RegPath::new("Microsoft\\Windows NT\\CurrentVersion");
        let Some(key) = software.key(&path)? else { return Ok(()) };
        let text = |name: &str| -> Result<Option<String>> {
            Ok(key.value(name)?.map(|value| value.data()).transpose()?.and_then(|data| data.text()))
        };
        self.product = text("ProductName")?.or_else(|| Some("Windows".to_owned()));
        self.version = text("CurrentVersion")?;
        self.build = text("CurrentBuildNumber")?;
        self.service_pack = match text("CSDVersion")? {
            Some(csd) => csd
                .strip_prefix("Service Pack ")
                .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next())
                .and_then(|number| number.parse().ok()),
            None => Some(0),
        };
        self.drive = text("SystemRoot")?.and_then(|root| {
            let mut chars = root.chars();
            let letter = chars.next().filter(char::is_ascii_alphabetic)?;
            (chars.next() == Some(':')).then(|| letter.to_ascii_uppercase())
        });
        Ok(())
    }

    /// Takes over what the SYSTEM hive tells.
    pub fn read_system(&mut self, system: &Hive, select: &Select) -> Result<()> {
        let Some(set) = select.current.or(select.default).map(Select::path) else { return Ok(()) };
        let text = |below: &str, name: &str| -> Result<Option<String>> {
            let Some(key) = system.key(&set.join(below))? else { return Ok(None) };
            Ok(key.value(name)?.map(|value| value.data()).transpose()?.and_then(|data| data.text()))
        };
        self.computer_name = text("Control\\ComputerName\\ComputerName", "ComputerName")?;
        self.product_type = text("Control\\ProductOptions", "ProductType")?.and_then(|kind| {
            [
                ("WinNT", ProductType::Workstation),
                ("ServerNT", ProductType::Server),
                ("LanmanNT", ProductType::DomainController),
            ]
            .into_iter()
            .find_map(|(name, kind_of)| same_name(name, &kind).then_some(kind_of))
        });
        Ok(())
    }

    /// Whether this Windows keeps a mirror of SYSTEM in SYSTEM.ALT: NT 4.0 and 2000 do, XP and later do not.
    pub fn keeps_alternate(&self) -> bool {
        matches!(self.version.as_deref(), Some("4.0" | "5.0"))
    }

    /// Whether this Windows acts on EnableDCOM: Windows 2000 does from Service Pack 3 on (KB825750, MS03-039), the
    /// others always. None where the version or service pack could not be read.
    pub fn honours_enable_dcom(&self) -> Option<bool> {
        match self.version.as_deref()? {
            "5.0" => Some(self.service_pack? >= 3),
            "4.0" | "5.1" | "5.2" => Some(true),
            _ => None,
        }
    }

    /// Product and service pack for showing.
    pub fn title(&self) -> String {
        let product = self.product.as_deref().unwrap_or("Windows, version not readable");
        match self.service_pack {
            Some(0) | None => product.to_owned(),
            Some(number) => format!("{product} Service Pack {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_config_hive_by_its_place() {
        let found = config_hive(&WinPath::new("WinXP\\SYSTEM32\\Config\\Software"));
        assert_eq!(found, Some((WinPath::new("WINXP"), HiveRole::Software)));
        let found = config_hive(&WinPath::new("WINNT\\system32\\config\\system.ALT"));
        assert_eq!(found, Some((WinPath::new("WINNT"), HiveRole::SystemAlternate)));
        let user = WinPath::new("Documents and Settings\\x\\ntuser.dat");
        assert_eq!(hive_role(&user), Some(HiveRole::User(user)));
        assert_eq!(hive_role(&WinPath::new("ntuser.dat")), None);
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
}
