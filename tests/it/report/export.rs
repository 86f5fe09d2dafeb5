//! Reports on the disk: paths checked up front, files replaced as a whole, and read back.

use std::fs;
use std::path::Path;

use batchgen::report::{Export, read, write_atomically};

use super::run::{Told, eventful};

fn refused(path: &Path) -> String {
    format!("{:#}", Export::open(path).unwrap_err())
}

/// What lies in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_report_is_written_and_read_back_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.json");
    let export = Export::open(&path).unwrap();
    assert!(names(folder.path()).is_empty(), "opening leaves nothing behind");
    let report = eventful().report();
    export.write(&report).unwrap();
    export.write(&report).unwrap();
    assert_eq!(read(&path).unwrap(), report);
    assert_eq!(names(folder.path()), ["a.json"]);
}

#[test]
fn the_extension_in_any_case_is_the_format() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["a.JSON", "b.csv", "c.md", "d.markdown"].map(|name| folder.path().join(name));
    let exports = Export::open_all(&paths).unwrap();
    for export in &exports {
        export.write(&eventful().report()).unwrap();
    }
    assert_eq!(names(folder.path()), ["a.JSON", "b.csv", "c.md", "d.markdown"]);
    assert!(fs::read_to_string(&paths[2]).unwrap().starts_with("### ✗ failed"));
}

#[test]
fn unknown_extensions_name_those_that_exist() {
    let folder = tempfile::tempdir().unwrap();
    let pdf = refused(&folder.path().join("a.pdf"));
    let expected = "no report can be written as .pdf; the extension is the format, one of .json \
                    .csv .md .html";
    assert!(pdf.ends_with(expected), "{pdf}");
    assert!(refused(&folder.path().join("report")).contains("has no extension"));
}

#[test]
fn paths_that_cannot_work_are_refused_up_front() {
    let folder = tempfile::tempdir().unwrap();
    let missing = refused(&folder.path().join("missing/a.json"));
    assert!(
        missing.contains("there is no folder") && missing.contains("make it first"),
        "{missing}"
    );
    fs::create_dir(folder.path().join("folder.json")).unwrap();
    assert!(refused(&folder.path().join("folder.json")).contains("not a plain file"));
    fs::write(folder.path().join("file"), "").unwrap();
    assert!(refused(&folder.path().join("file/a.json")).contains("cannot write a report to"));
    let path = folder.path().join("a.json");
    let error = Export::open_all(&[&path, &folder.path().join("./a.json")]).unwrap_err();
    assert!(error.to_string().starts_with("two reports go to"), "{error}");
}

#[test]
fn read_only_files_are_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept.json");
    fs::write(&path, "kept").unwrap();
    let mut permissions = fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&path, permissions).unwrap();
    assert!(refused(&path).contains("read-only"));
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_permissions_kept() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("real.csv"), folder.path().join("link.csv"));
    fs::write(&real, "old").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    symlink(&real, &link).unwrap();
    Export::open(&link).unwrap().write(&eventful().report()).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&real).unwrap().starts_with("lane,"));
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    symlink(folder.path().join("nowhere.csv"), folder.path().join("broken.csv")).unwrap();
    assert!(refused(&folder.path().join("broken.csv")).contains("a link to nowhere"));
}

/// Set for the child process of the test below: the file it writes to.
const CHILD: &str = "BATCHGEN_TEST_LIMITED_FILE";

#[test]
#[ignore = "the child process of a_full_disk_leaves_the_previous_report_whole"]
fn write_a_large_report_under_a_limit() {
    let path = std::env::var_os(CHILD).unwrap();
    let path = Path::new(&path);
    let export = Export::open(path).unwrap();
    let long = "word ".repeat(50_000);
    let mut told = Told::new(&["sequential"], &["a"]);
    told.pass(0, 0, &[&long]);
    let error = format!("{:#}", export.write(&told.report()).unwrap_err());
    assert!(error.contains("what was there before is untouched"), "{error}");
    assert!(error.contains("free some space"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_previous_report_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept.json");
    let report = Told::new(&["sequential"], &["a"]).report();
    Export::open(&path).unwrap().write(&report).unwrap();
    // a limit on the size of files stands in for a full disk
    let child = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "report::export::write_a_large_report_under_a_limit", "--ignored"])
        .env(CHILD, &path)
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"), "the child ran");
    assert_eq!(read(&path).unwrap(), report);
    assert_eq!(names(folder.path()), ["kept.json"], "nothing half-written stays");
}

#[test]
fn any_text_is_written_atomically() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("comparison.txt");
    write_atomically(&path, b"first").unwrap();
    write_atomically(&path, b"second").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"second");
    let error = write_atomically(&folder.path().join("no/a.txt"), b"").unwrap_err();
    assert!(format!("{error:#}").contains("there is no folder"), "{error:#}");
}

/// What reading this content as a report says.
fn misread(content: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.json");
    fs::write(&path, content).unwrap();
    format!("{:#}", read(&path).unwrap_err())
}

#[test]
fn damaged_and_foreign_files_are_told_apart() {
    let whole = serde_json::to_vec(&eventful().report()).unwrap();
    for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
        assert!(misread(&whole[..cut]).contains("the report is damaged"), "cut at {cut}");
    }
    assert!(misread(b"{}").contains("it is no report"));
    assert!(misread(br#"{"schema": 7}"#).contains("it is no report"));
    let newer = misread(br#"{"schema": "batchgen-report/2"}"#);
    assert!(newer.contains("schema \"batchgen-report/2\" and this version reads"), "{newer}");
    let deep = [b"{\"schema\":".as_slice(), &b"[".repeat(100_000)].concat();
    assert!(misread(&deep).contains("the report is damaged"));
    assert!(misread(b"\xff\xfe{}").contains("the report is damaged"));
    let huge = misread(br#"{"schema":"batchgen-report/1","run":1e999,"lanes":[]}"#);
    assert!(huge.contains("the report is damaged"), "{huge}");
}

#[test]
fn no_escape_sequence_of_a_file_gets_into_an_error() {
    let text = "{\"schema\":\"batchgen-report/\\u001b[2J\"}";
    assert!(!misread(text.as_bytes()).contains('\u{1b}'));
    let mut value = serde_json::to_value(eventful().report()).unwrap();
    value["lanes"][0]["state"] = "\u{1b}[2J".into();
    let error = misread(&serde_json::to_vec(&value).unwrap());
    assert!(error.contains("damaged") && !error.contains('\u{1b}'), "{error:?}");
}

#[test]
fn files_that_are_missing_no_files_or_too_large_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let missing = format!("{:#}", read(&folder.path().join("a.json")).unwrap_err());
    assert!(missing.starts_with("cannot read the report"), "{missing}");
    assert!(format!("{:#}", read(folder.path()).unwrap_err()).contains("not a plain file"));
    let path = folder.path().join("large.json");
    let large = fs::File::create(&path).unwrap();
    large.set_len(batchgen::report::MOST_REPORT_BYTES + 1).unwrap();
    let error = format!("{:#}", read(&path).unwrap_err());
    assert!(error.contains("more than the limit"), "{error}");
}

#[test]
fn fields_of_later_versions_are_ignored() {
    let report = eventful().report();
    let mut value = serde_json::to_value(&report).unwrap();
    value["new"] = "x".into();
    value["lanes"][0]["new"] = "x".into();
    value["run"]["host"]["new"] = "x".into();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.json");
    fs::write(&path, serde_json::to_vec(&value).unwrap()).unwrap();
    assert_eq!(read(&path).unwrap(), report);
}
