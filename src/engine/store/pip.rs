//! The user's own pip, run as a child process that a cancelled fetch stops.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::engine::EngineError;

/// How often the folder is looked at for progress.
const LOOK: Duration = Duration::from_millis(200);

/// How much of what pip says is kept for the error message, in bytes.
const KEPT: usize = 16 << 10;

/// A command that is pip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pip {
    program: OsString,
    arguments: Vec<OsString>,
}

impl Pip {
    /// The pip that runs as `program arguments… download …`.
    pub fn new(program: impl Into<OsString>, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(OsString::from).collect();
        Self { program: program.into(), arguments }
    }

    /// The commands that may be pip on this platform, the surest first.
    pub fn candidates() -> Vec<Self> {
        let module = |program: &str| Self::new(program, &["-m", "pip"]);
        let mut candidates = vec![module("python3"), module("python")];
        if cfg!(windows) {
            candidates.push(module("py"));
        }
        candidates.extend([Self::new("pip3", &[]), Self::new("pip", &[])]);
        candidates
    }

    /// Downloads `requirement` as a wheel into `folder`. `Ok(false)` where this pip is not there.
    ///
    /// `on_bytes` is told about how many bytes have arrived.
    pub(super) async fn download(
        &self,
        requirement: &str,
        folder: &Path,
        on_bytes: &(dyn Fn(u64) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<bool, EngineError> {
        let mut child = match self.command(requirement, folder).spawn() {
            Ok(child) => child,
            Err(error) if is_absent(&error) => return Ok(false),
            Err(error) => {
                return Err(EngineError::Transport(format!("{self} cannot be run: {error}")));
            }
        };
        let said = tokio::spawn(last_words(child.stderr.take()));
        let status = match wait(&mut child, folder, on_bytes, cancel).await {
            Some(status) => status,
            None => {
                // The child is waited for, so that nothing of it is left when this returns.
                let _ = child.kill().await;
                return Err(EngineError::Cancelled);
            }
        };
        let status = status
            .map_err(|error| EngineError::Transport(format!("{self} cannot be run: {error}")))?;
        if status.success() {
            return Ok(true);
        }
        let said = said.await.unwrap_or_default();
        if said.contains("No module named pip") {
            return Ok(false);
        }
        Err(EngineError::Transport(format!(
            "{self} download {requirement} failed: {}",
            gist(&said)
        )))
    }

    fn command(&self, requirement: &str, folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            // Wheels only: a source package would be built here, which runs its code.
            .args(["download", "--no-deps", "--only-binary", ":all:", "--no-input"])
            .args(["--disable-pip-version-check", "--progress-bar", "off", "--retries", "2", "-d"])
            .arg(folder)
            .arg(requirement)
            // pip gathers the bytes in its temporary folder: here they can be counted, lie on the
            // right disk and are removed with the folder.
            .envs(["TMPDIR", "TEMP", "TMP"].map(|name| (name, folder)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

impl fmt::Display for Pip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.program.to_string_lossy())?;
        self.arguments.iter().try_for_each(|part| write!(f, " {}", part.to_string_lossy()))
    }
}

/// Waits for the end; `None` when cancelled.
async fn wait(
    child: &mut Child,
    folder: &Path,
    on_bytes: &(dyn Fn(u64) + Send + Sync),
    cancel: &CancellationToken,
) -> Option<std::io::Result<std::process::ExitStatus>> {
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return None,
            status = child.wait() => return Some(status),
            _ = look.tick() => on_bytes(bytes_in(folder, 4)),
        }
    }
}

/// A command that is not there, or that is only a placeholder.
fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied)
}

/// Bytes of the files in a folder and the folders in it, `depth` levels down.
fn bytes_in(folder: &Path, depth: usize) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.fold(0, |sum, entry| {
        let bytes = match entry.metadata() {
            Ok(meta) if meta.is_file() => meta.len(),
            Ok(meta) if meta.is_dir() && depth > 0 => bytes_in(&entry.path(), depth - 1),
            Ok(_) | Err(_) => 0,
        };
        sum.saturating_add(bytes)
    })
}

/// Reads all that a child says, so that it never blocks, and keeps the end of it.
async fn last_words(stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut kept = Vec::new();
    let mut buffer = vec![0; 4096];
    if let Some(mut stream) = stream {
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            kept.extend_from_slice(&buffer[..read]);
            let surplus = kept.len().saturating_sub(KEPT);
            kept.drain(..surplus);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// The lines that say what went wrong, without control characters.
fn gist(said: &str) -> String {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let errors: Vec<&str> =
        lines.iter().copied().filter(|line| line.to_uppercase().starts_with("ERROR")).collect();
    let chosen =
        if errors.is_empty() { lines.last().copied().into_iter().collect() } else { errors };
    let text: String = chosen.join(" / ").chars().filter(|c| !c.is_control()).take(600).collect();
    if text.is_empty() { "it said nothing".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gist_is_the_error_lines_without_control_characters() {
        let said = "WARNING: Retrying\n\u{1b}[31mx\nERROR: no \u{7}match\nERROR: none\n";
        assert_eq!(gist(said), "ERROR: no match / ERROR: none");
        assert_eq!(gist("\n"), "it said nothing");
    }

    #[test]
    fn bytes_are_counted_in_folders_too() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), [0; 3]).unwrap();
        std::fs::create_dir(folder.path().join("b")).unwrap();
        std::fs::write(folder.path().join("b/c"), [0; 4]).unwrap();
        assert_eq!(bytes_in(folder.path(), 4), 7);
    }
}
