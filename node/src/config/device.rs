//! `[device]`: how a running device is spoken to, and how it speaks.

use std::path::PathBuf;

use super::{Check, ConfigError, file::DeviceTable};
use crate::output::Lang;

/// Longest path of a Unix socket in bytes (`sun_path` is 108 with its end).
const MAX_SOCKET_PATH: usize = 107;

/// What a device has.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceConfig {
    /// The Unix socket of the control channel.
    pub control: PathBuf,
    /// In what language it asks on a terminal; `None` for the locale's.
    pub language: Option<Lang>,
}

pub(super) fn check(check: &Check<'_>, table: DeviceTable) -> Result<DeviceConfig, ConfigError> {
    let control = check.dir.join(&table.control);
    let found = control.as_os_str().len();
    if found > MAX_SOCKET_PATH {
        let expected = format!("a path of at most {MAX_SOCKET_PATH} bytes");
        return Err(check.field("device.control", format!("{found} bytes long"), expected));
    }
    let language = match table.language.as_str() {
        "locale" => None,
        "ja" => Some(Lang::Ja),
        "en" => Some(Lang::En),
        found => {
            let found = format!("{found:?}");
            return Err(check.field("device.language", found, "locale, ja or en"));
        }
    };
    Ok(DeviceConfig { control, language })
}
