//! Which Python runs the helper, and what to install where something is missing.

use std::path::{Path, PathBuf};

use super::message::{Hello, PROTOCOL};
use crate::prompts::printable;
use crate::provider::{Failure, FailureKind, ProviderSpec};

/// The environment variable that names a Python or a virtual environment.
const VARIABLE: &str = "BATCHGEN_PYTHON";

/// The release that this program is tested with.
const TESTED: &str = "0.32.2";

/// The first release whose `BatchGenerator` is the one that the helper drives.
const FIRST: (u32, u32) = (0, 32);

/// mlx-lm's own demand.
const FIRST_PYTHON: (u32, u32) = (3, 11);

/// The Python that the spec names, else the environment, else the one on the path.
pub(super) fn program(spec: &ProviderSpec) -> PathBuf {
    let named = spec.python.as_deref().map(PathBuf::from);
    let named = named.or_else(|| std::env::var_os(VARIABLE).map(PathBuf::from));
    let named = named.filter(|path| !path.as_os_str().is_empty());
    match named {
        Some(folder) if folder.is_dir() => in_environment(&folder),
        Some(program) => program,
        None if cfg!(windows) => "python".into(),
        None => "python3".into(),
    }
}

/// The Python of a virtual environment.
fn in_environment(folder: &Path) -> PathBuf {
    if cfg!(windows) {
        folder.join("Scripts").join("python.exe")
    } else {
        folder.join("bin/python")
    }
}

/// Python cannot be started.
pub(super) fn cannot_start(program: &Path, error: &std::io::Error) -> Failure {
    let program = program.display();
    let reason = match error.kind() {
        std::io::ErrorKind::NotFound => "is not there".to_owned(),
        _ => format!("cannot be started: {error}"),
    };
    unsupported(format!(
        "mlx runs through Python, and {program} {reason}: install Python {}.{} or newer and run \
         `{}`; or name the Python that has mlx-lm with --python or {VARIABLE}",
        FIRST_PYTHON.0,
        FIRST_PYTHON.1,
        in_new_environment("python3")
    ))
}

/// Refuses a Python without what the helper needs.
///
/// # Errors
/// What is missing or too old, and the command that installs it.
pub(super) fn check(hello: &Hello) -> Result<(), Failure> {
    let executable = &hello.executable;
    if hello.protocol != PROTOCOL {
        let message = format!("the mlx helper speaks protocol {}, not {PROTOCOL}", hello.protocol);
        return Err(Failure::new(FailureKind::Protocol, printable(&message)));
    }
    if version(&hello.python).is_none_or(|version| version < FIRST_PYTHON) {
        return Err(unsupported(format!(
            "mlx-lm needs Python {}.{} or newer, and {executable} is {}: name a newer one with \
             --python or {VARIABLE}",
            FIRST_PYTHON.0, FIRST_PYTHON.1, hello.python
        )));
    }
    match &hello.mlx_lm {
        None => Err(missing(hello, "mlx-lm is not installed")),
        Some(found) if version(found).is_none_or(|version| version < FIRST) => {
            Err(missing(hello, &format!("mlx-lm {found} is too old")))
        }
        Some(_) if hello.mlx.is_none() => Err(missing(hello, "mlx-lm is there without MLX")),
        Some(_) => Ok(()),
    }
}

/// mlx-lm is there and cannot be imported.
pub(super) fn cannot_import(hello: &Hello, error: &str) -> Failure {
    missing(hello, &format!("mlx-lm cannot be imported ({error})"))
}

fn missing(hello: &Hello, what: &str) -> Failure {
    let Hello { executable, venv, .. } = hello;
    unsupported(match venv {
        true => format!("{what} for {executable}: run `{}`", in_environment_of(executable)),
        false => format!(
            "{what} for {executable}: run `{}`, then give --python mlx-env or set {VARIABLE} to it",
            in_new_environment(executable)
        ),
    })
}

/// The command that installs mlx-lm for the Python of a virtual environment.
fn in_environment_of(executable: &str) -> String {
    format!("{} -m pip install {}", word(executable), package())
}

/// The commands that install mlx-lm where packages of a system's Python are not to be touched.
fn in_new_environment(executable: &str) -> String {
    let pip = if cfg!(windows) { r"mlx-env\Scripts\pip" } else { "mlx-env/bin/pip" };
    format!("{} -m venv mlx-env && {pip} install {}", word(executable), package())
}

fn package() -> String {
    let extra = if cfg!(target_os = "macos") { "" } else { "[cpu]" };
    format!("'mlx-lm{extra}=={TESTED}'")
}

/// A word for a shell.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:\\+@".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{text}'") }
}

/// The first two numbers of a version.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn unsupported(message: String) -> Failure {
    Failure::new(FailureKind::Unsupported, printable(&message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            protocol: PROTOCOL,
            python: "3.11.2".into(),
            executable: "/usr/bin/python3".into(),
            venv: false,
            mlx_lm: Some("0.32.2".into()),
            mlx: Some("0.32.4".into()),
        }
    }

    #[test]
    fn what_the_helper_needs_is_enough_and_newer_is_too() {
        assert_eq!(check(&hello()), Ok(()));
        let newer = Hello { python: "3.14.0rc1".into(), mlx_lm: Some("1.0".into()), ..hello() };
        assert_eq!(check(&newer), Ok(()));
    }

    #[test]
    fn what_is_missing_is_said_with_the_command_that_installs_it() {
        let package = package();
        let system = check(&Hello { mlx_lm: None, ..hello() }).unwrap_err();
        assert_eq!(system.kind, FailureKind::Unsupported);
        let command =
            format!("`/usr/bin/python3 -m venv mlx-env && mlx-env/bin/pip install {package}`");
        assert!(cfg!(windows) || system.message.contains(&command), "{}", system.message);
        let executable = "/my env/bin/python".to_owned();
        let old = Some("0.31.9".to_owned());
        let venv = Hello { executable, venv: true, mlx_lm: old, ..hello() };
        let message = check(&venv).unwrap_err().message;
        let command = format!("`'/my env/bin/python' -m pip install {package}`");
        assert!(message.starts_with("mlx-lm 0.31.9 is too old"), "{message}");
        assert!(message.contains(&command), "{message}");
    }

    #[test]
    fn an_old_python_and_another_protocol_are_refused() {
        let old = check(&Hello { python: "3.9.6".into(), ..hello() }).unwrap_err();
        assert!(old.message.contains("needs Python 3.11 or newer"), "{}", old.message);
        let other = check(&Hello { protocol: 2, ..hello() }).unwrap_err();
        assert_eq!(other.kind, FailureKind::Protocol);
    }
}
