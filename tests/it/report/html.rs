//! HTML: one page that needs nothing else, in which no text becomes markup.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use batchgen::report::{Format, Report};

use super::run::{Told, eventful};
use crate::servers::require_or_skip;

fn page(report: &Report) -> String {
    String::from_utf8(Format::Html.render(report).unwrap()).unwrap()
}

/// Everything that the page may be made of. None of it loads or runs anything.
const ELEMENTS: &str = "!doctype html head meta title style body main header section footer h1 h2 \
    h3 h4 p ul li dl dt dd pre div span strong b i ins del details summary table thead tbody tr \
    th td svg text line rect circle path";
const ATTRIBUTES: &str = "lang charset http-equiv content name class role aria-label scope \
    tabindex open dir viewBox x y x1 y1 x2 y2 cx cy r rx d width height text-anchor";

/// Names of elements and attributes in a page, and its text.
fn parsed(page: &str) -> (BTreeSet<String>, BTreeSet<String>, String) {
    let (mut elements, mut attributes) = (BTreeSet::new(), BTreeSet::new());
    let (start, rest) = page.split_once("<style>").unwrap();
    let (_, end) = rest.split_once("</style>").unwrap();
    let mut text = String::new();
    for part in format!("{start}{end}").split('<').skip(1) {
        let (tag, after) = part.split_once('>').expect("every tag ends");
        assert!(!after.contains('>'), "a > outside of a tag: {part}");
        text.push_str(after);
        let mut words = tag.splitn(2, ' ');
        elements.insert(words.next().unwrap().trim_start_matches('/').to_owned());
        let mut rest = words.next().unwrap_or_default();
        while let Some((name, after)) = rest.split_once("=\"") {
            attributes.insert(name.trim().to_owned());
            rest = after.split_once('"').expect("every value ends").1;
        }
        let bare = rest.trim();
        assert!(["", "html", "open"].contains(&bare), "{tag}");
    }
    (elements, attributes, text)
}

fn assert_closed_set(page: &str) {
    let (elements, attributes, _) = parsed(page);
    let known: BTreeSet<&str> = ELEMENTS.split_whitespace().collect();
    let foreign: Vec<_> = elements.iter().filter(|name| !known.contains(name.as_str())).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    let known: BTreeSet<&str> = ATTRIBUTES.split_whitespace().collect();
    let foreign: Vec<_> = attributes.iter().filter(|name| !known.contains(name.as_str())).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}

const PAYLOADS: [&str; 14] = [
    "<script>document.title='pwned'</script>",
    "</style></title></pre><script>document.title='pwned'</script>",
    "\"><img src=x onerror=\"document.title='pwned'\">",
    "' onmouseover='document.title=1' x='",
    "<svg onload=document.title='pwned'>",
    "</svg><iframe srcdoc=\"<script>parent.document.title='pwned'</script>\">",
    "<details open ontoggle=document.title='pwned'>",
    "javascript:document.title='pwned'",
    "&lt;script&gt;document.title='pwned'&lt;/script&gt;",
    "<!--><script>document.title='pwned'</script>-->",
    "]]><script>document.title='pwned'</script>",
    "<meta http-equiv=refresh content=\"0;url=data:text/html,pwned\">",
    "<link rel=stylesheet href=//example.org/x.css><style>*{display:none}</style>",
    "\u{0}<\u{202e}script>\u{1b}[2J<base href=//example.org>",
];

/// A run whose every text is this one.
fn filled(text: &str) -> Report {
    let mut told = Told::new(&["sequential", "batched:2", "batched:4", "batched:8"], &[text, text]);
    let mut prompt = (*told.list.prompts[0]).clone();
    prompt.id = text.into();
    told.list.prompts[0] = prompt.into();
    told.list.name = text.into();
    told.info.model = text.into();
    told.info.device = text.into();
    told.info.details = vec![(text.into(), text.into())];
    for lane in 0..4 {
        told.start(lane, 0);
        told.submit(0);
        told.submit(1);
        told.output(0, &format!("{text} {lane}"));
        told.fail(1, text);
        told.end(None);
    }
    told.plan.name = text.into();
    let mut report = told.report();
    for lane in &mut report.lanes {
        lane.label.push_str(text);
    }
    report.run.id = text.into();
    report.run.version = text.into();
    report.run.command = Some(text.into());
    report.run.notices = vec![text.into()];
    report.run.host.os = text.into();
    report.run.host.cpu = Some(text.into());
    report.run.host.gpus[0].name = text.into();
    report
}

#[test]
fn no_text_of_a_report_becomes_markup() {
    for payload in PAYLOADS {
        let page = page(&filled(payload));
        assert_closed_set(&page);
        assert!(!page.contains(['\u{1b}', '\u{202e}', '\u{0}']));
    }
}

#[test]
fn a_page_needs_nothing_else_and_may_load_and_run_nothing() {
    let page = page(&eventful().report());
    assert!(page.contains("content=\"default-src &#39;none&#39;; style-src &#39;sha256-"));
    for outside in ["http://", "https://", "url(", "@import", "src=", "href="] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert_closed_set(&page);
}

#[test]
fn the_verdict_comes_first_and_the_outputs_are_side_by_side_with_their_differences() {
    let page = page(&eventful().report());
    let place = |what: &str| page.find(what).unwrap_or_else(|| panic!("{what} is not there"));
    assert!(place("✗ Failed") < place("Throughput by lane"));
    assert!(place("Throughput by lane") < place("All figures"));
    assert!(place("The <del>Nile</del><ins>Rhine</ins> flows north") > place("All figures"));
    assert!(place("How it was measured") < place("Repeat it"));
    assert!(place("batchgen-tui run --preset quickstart") > place("Repeat it"));
}

#[test]
fn reports_without_a_lane_a_row_or_a_figure_have_a_page() {
    assert_closed_set(&page(&Told::new(&["sequential", "batched:2"], &["a"]).report()));
    let mut empty = Told::new(&["sequential"], &[]);
    empty.pass(0, 0, &[]);
    assert_closed_set(&page(&empty.report()));
    let mut report = eventful().report();
    report.lanes.clear();
    report.verdict = None;
    assert!(page(&report).contains("Not judged"));
}

#[test]
fn figures_that_no_run_has_do_no_harm() {
    let mut report = eventful().report();
    for (place, odd) in [f64::NAN, f64::INFINITY, -1.0].into_iter().enumerate() {
        let lane = &mut report.lanes[place];
        lane.figures.output_tokens_per_s = Some(odd);
        lane.speedup = Some(odd);
        lane.rows.iter_mut().for_each(|row| row.ttft_s = Some(odd));
        if let Some(ttft) = &mut lane.figures.ttft_s {
            (ttft.p50, ttft.p95) = (odd, odd);
        }
    }
    let page = page(&report);
    assert_closed_set(&page);
    assert!(!page.contains("NaN") && !page.contains("inf\""), "{page}");
}

#[test]
fn a_hundred_thousand_rows_are_counted_and_the_page_still_opens() {
    let prompts: Vec<String> = (0..100_000).map(|row| format!("prompt {row}")).collect();
    let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
    let mut told = Told::new(&["sequential", "batched:2"], &prompts);
    for lane in 0..2 {
        told.start(lane, 0);
        for row in 0..prompts.len() {
            told.submit(row);
            let differs = lane == 1 && row % 100 == 7;
            told.output(row, if differs { "another one" } else { "the same one" });
        }
        told.end(None);
    }
    let page = page(&told.report());
    assert!(page.len() < 4_000_000, "{}", page.len());
    let left_out = "700 more rows that differ or failed are not on this page";
    assert!(page.contains(left_out) && page.contains("row-100000") == page.contains("row-99999"));
    assert!(page.contains("98800 more rows that are the same in every lane"), "{left_out}");
}

/// A browser without a screen.
fn browser() -> Result<PathBuf, String> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|path| path.is_file())
        .ok_or_else(|| format!("no browser is installed ({})", names.join(", ")))
}

/// The page as a browser understood it.
fn seen_by(browser: &Path, page: &Path, profile: &Path) -> String {
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .args(["--no-first-run", "--disable-background-networking", "--disable-sync"])
        .args(["--virtual-time-budget=1000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(page)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_browser_runs_nothing_of_a_hostile_report_even_without_the_content_policy() {
    let Some(browser) = require_or_skip(browser()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.html");
    let page = page(&filled(&PAYLOADS.join("\n")));
    // the policy would hide a hole in the escaping
    let policy = page.find("<meta http-equiv").unwrap();
    let end = policy + page[policy..].find('>').unwrap() + 1;
    std::fs::write(&path, format!("{}{}", &page[..policy], &page[end..])).unwrap();
    let seen = seen_by(&browser, &path, &folder.path().join("profile"));
    assert!(seen.contains("All figures"), "the browser shows the page: {seen}");
    let elements = ["<script", "<img", "<iframe", "<link", "<base", "<svg onload", "<meta http"];
    for trace in elements.into_iter().chain(["<title>pwned", "\" ontoggle=", "\" onmouse"]) {
        assert!(!seen.contains(trace), "{trace}");
    }
}
