//! A folder with prompts and prices, and a server that has batch jobs.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::mocks::{Mock, block_on};
use crate::servers::http_client;

pub const BOTH: [&str; 2] = ["openai", "anthropic"];
pub const KEY: &str = "sk-test-5d0c93ab71e24f68";

/// Where a test runs the program.
pub struct Place {
    home: tempfile::TempDir,
    provider: &'static str,
    pub address: String,
}

impl Place {
    pub fn new(provider: &'static str, mock: &Mock, rows: usize) -> Self {
        // each vendor has a path of its own there
        let path = if provider == "anthropic" { "/anthropic" } else { "" };
        Self::at(provider, &format!("{}{path}", mock.address), rows)
    }

    pub fn at(provider: &'static str, address: &str, rows: usize) -> Self {
        let home = tempfile::tempdir().unwrap();
        let prompts: String = (0..rows).map(|row| format!("Say number {row}.\n")).collect();
        std::fs::write(home.path().join("words.txt"), prompts).unwrap();
        std::fs::create_dir_all(home.path().join("config")).unwrap();
        let place = Self { home, provider, address: address.to_owned() };
        place.write_prices();
        place
    }

    /// A dollar a million prompt tokens, two a million output tokens.
    fn write_prices(&self) {
        let host = self.address.trim_start_matches("http://");
        let prices = format!(
            "[[price]]\nserver = \"{host}\"\nmodel = \"gpt-4o\"\ninput = 1\noutput = 2\nbatch = 0.5\n\
             date = \"2026-11-01\"\n"
        );
        std::fs::write(self.path("config/prices.toml"), prices).unwrap();
    }

    pub fn folder(&self) -> &Path {
        self.home.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn binary(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_batchgen-tui"));
        command.current_dir(&self.home).env("BATCHGEN_HOME", self.home.path());
        command.env("BATCHGEN_OFFLINE_KEY", KEY).stdin(Stdio::null());
        command
    }

    pub fn command(&self, line: &str) -> Command {
        let mut command = self.binary();
        command.args(["run", "--provider", self.provider, "--base-url", &self.address]);
        command.args(["--model", "gpt-4o", "--prompts", "words.txt"]);
        command.args(["--api-key-env", "BATCHGEN_OFFLINE_KEY"]).args(line.split_whitespace());
        command
    }

    pub fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    pub fn resume(&self, line: &str) -> Output {
        let id = self.run_folder().file_name().unwrap().to_string_lossy().into_owned();
        self.binary().args(["resume", &id]).args(line.split_whitespace()).output().unwrap()
    }

    pub fn start(&self, line: &str) -> Child {
        let mut command = self.command(line);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    pub fn report(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.path("r.json")).unwrap()).unwrap()
    }

    /// The folder of the newest run.
    pub fn run_folder(&self) -> PathBuf {
        let runs = std::fs::read_dir(self.path("data/runs")).unwrap();
        runs.map(|run| run.unwrap().path()).max().unwrap()
    }

    pub fn journal(&self) -> String {
        std::fs::read_to_string(self.run_folder().join("journal.jsonl")).unwrap()
    }

    /// Runs the program until something is so often in its journal, and kills it.
    pub fn kill_when(&self, line: &str, what: &str, times: usize) {
        let mut child = self.start(line);
        self.until_journal_has_times(what, times);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// As [`Place::kill_when`], with ctrl-c; what it said and ended with.
    #[cfg(unix)]
    pub fn interrupt_when(&self, line: &str, what: &str, times: usize) -> Output {
        let child = self.start(line);
        self.until_journal_has_times(what, times);
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        child.wait_with_output().unwrap()
    }

    /// Waits until something is in the journal of the only run.
    pub fn until_journal_has(&self, what: &str) {
        self.until_journal_has_times(what, 1);
    }

    /// Waits until something is so often in the journal of the only run.
    pub fn until_journal_has_times(&self, what: &str, times: usize) {
        let started = Instant::now();
        loop {
            let runs = std::fs::read_dir(self.path("data/runs"));
            let run = runs.ok().and_then(|mut runs| runs.next());
            let path = run.map(|run| run.unwrap().path().join("journal.jsonl"));
            let text = path.and_then(|path| std::fs::read_to_string(path).ok());
            if text.is_some_and(|text| text.matches(what).count() >= times) {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "no {what} in the journal");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Takes lines out of the journal, as if the program had been killed before they were written.
    pub fn forget(&self, what: &str) {
        let text = self.journal();
        let kept: String = text.split_inclusive('\n').filter(|line| !line.contains(what)).collect();
        assert_ne!(kept, text, "nothing to forget");
        std::fs::write(self.run_folder().join("journal.jsonl"), kept).unwrap();
    }

    /// As [`Place::forget`], of the last such line only.
    pub fn forget_last(&self, what: &str) {
        let text = self.journal();
        let last = text.lines().enumerate().filter(|(_, line)| line.contains(what)).last();
        let (last, _) = last.unwrap();
        let kept = text.split_inclusive('\n').enumerate().filter(|(place, _)| *place != last);
        let kept: String = kept.map(|(_, line)| line).collect();
        std::fs::write(self.run_folder().join("journal.jsonl"), kept).unwrap();
    }

    /// The ids of the jobs at the vendor, newest first.
    pub fn jobs(&self) -> Vec<String> {
        let path = if self.provider == "anthropic" { "messages/batches" } else { "batches" };
        let url = format!("{}/v1/{path}?limit=100", self.address);
        let list: Value = block_on(async {
            let client = http_client().build().unwrap();
            let answer = client.get(url).send().await.unwrap();
            serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
        });
        let jobs = list["data"].as_array().unwrap_or_else(|| panic!("{list}"));
        jobs.iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Every file under the folder.
    pub fn files(&self) -> Vec<PathBuf> {
        files(self.home.path())
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Each answer quotes its prompt.
pub fn assert_answers_are_in_order(lane: &Value) {
    for (place, row) in lane["rows"].as_array().unwrap().iter().enumerate() {
        let word = format!("number {place}.");
        assert!(row["text"].as_str().unwrap().contains(&word), "{row}");
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
