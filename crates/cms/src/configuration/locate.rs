//! Which file is meant if none is named.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::ConfigurationError;

/// `./cms.cfg`, else `$XDG_CONFIG_HOME/cms/cms.cfg`, where `$XDG_CONFIG_HOME` is `~/.config` if it isn't set
/// (XDG Base Directory Specification; a relative value counts as not set).
pub fn locate() -> Result<PathBuf, ConfigurationError> {
    first_existing(std::env::var_os("XDG_CONFIG_HOME"), std::env::var_os("HOME"))
}

fn first_existing(xdg_config_home: Option<OsString>, home: Option<OsString>) -> Result<PathBuf, ConfigurationError> {
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let config_home =
        xdg_config_home.and_then(absolute).or_else(|| home.and_then(absolute).map(|home| home.join(".config")));
    let looked_for: Vec<PathBuf> =
        std::iter::once(PathBuf::from("cms.cfg")).chain(config_home.map(|dir| dir.join("cms/cms.cfg"))).collect();
    match looked_for.iter().find(|file| Path::exists(file)) {
        Some(file) => Ok(file.clone()),
        None => Err(ConfigurationError::Missing { looked_for }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_in_the_config_home_is_found() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".config/cms/cms.cfg");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "").unwrap();
        assert_eq!(first_existing(None, Some(home.path().into())).unwrap(), file);
        assert_eq!(first_existing(Some("relative".into()), Some(home.path().into())).unwrap(), file);
        assert_eq!(first_existing(Some(home.path().join(".config").into()), None).unwrap(), file);
    }

    #[test]
    fn all_places_that_were_looked_at_are_told() {
        let error = first_existing(Some("/nowhere".into()), None).unwrap_err();
        assert_eq!(error.to_string(), "there is no configuration: neither `cms.cfg` nor `/nowhere/cms/cms.cfg` exists");
    }
}
