//! `settings.env`: a run's settings as a shell reads them, for commands beside the run.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

/// Assignments that a shell, and [`parse`], read back as they were.
pub(super) fn lines(settings: &[(String, String)]) -> String {
    let line = |(key, value): &(String, String)| {
        let value = value.replace('\'', r"'\''");
        format!("{key}='{value}'\n")
    };
    settings.iter().map(line).collect::<Vec<_>>().concat()
}

fn parse(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| {
            let (key, value) = line.split_once('=')?;
            let value = value.strip_prefix('\'')?.strip_suffix('\'')?;
            Some((key.to_owned(), value.replace(r"'\''", "'")))
        })
        .collect()
}

/// Lets a command without settings of its own (no `DATABASE_URL`) work on the data of the
/// `iparking dev` in `IPARKING_VAR_DIR`: starts it again with that run's settings. Returns when
/// there is nothing to borrow.
///
/// # Errors
/// When the command cannot be started again.
pub fn borrow_settings() -> anyhow::Result<()> {
    let given = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if given("DATABASE_URL").is_some() || given("IPARKING__DATABASE__URL").is_some() {
        return Ok(());
    }
    let var = given("IPARKING_VAR_DIR").map_or_else(|| PathBuf::from("var"), PathBuf::from);
    let Ok(text) = std::fs::read_to_string(var.join("dev").join("settings.env")) else {
        return Ok(());
    };
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    // Only comes back if it failed.
    let failed = Command::new(own).args(std::env::args_os().skip(1)).envs(parse(&text)).exec();
    Err(failed).context("cannot start again with the settings of `iparking dev`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_back_as_they_were() {
        let settings =
            vec![("A".to_owned(), "it's = 'quoted'".to_owned()), ("B".to_owned(), String::new())];
        assert_eq!(parse(&lines(&settings)), settings);
    }
}
