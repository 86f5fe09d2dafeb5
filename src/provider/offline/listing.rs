//! A vendor's list of jobs, page by page.

use std::ops::ControlFlow;

use reqwest::Url;
use serde_json::Value;

use super::super::http::Http;
use super::super::rejection::Rejection;
use super::{id_of, protocol};

/// How a vendor's list is asked for.
pub(super) struct Pages {
    /// The parameter that names the last job of the page before.
    pub after: &'static str,
    /// Jobs on a page.
    pub jobs: usize,
    /// The most pages that are read.
    pub most: usize,
}

impl Pages {
    /// Shows the pages to `look`, the newest jobs first, until it has seen enough or there are no
    /// more.
    pub async fn walk(
        &self,
        http: &Http,
        list: &Url,
        mut look: impl FnMut(&[Value]) -> Result<ControlFlow<()>, Rejection>,
    ) -> Result<(), Rejection> {
        let mut after: Option<String> = None;
        for _ in 0..self.most {
            let page = http.get_json(self.address(list, after.as_deref())).await?;
            let Some(jobs) = page.get("data").and_then(Value::as_array) else {
                return Err(protocol("the list of jobs has no data".into()));
            };
            let more = page.get("has_more").and_then(Value::as_bool);
            let last = jobs.last().map(id_of).transpose()?;
            if look(jobs)?.is_break() {
                return Ok(());
            }
            // a page that may not be the last one must not pass for it
            if !more.unwrap_or(jobs.len() >= self.jobs) || last.is_none() {
                return Ok(());
            }
            if last == after {
                return Err(protocol("the list of jobs begins anew on every page".into()));
            }
            after = last;
        }
        let most = self.jobs * self.most;
        Err(protocol(format!("more than {most} jobs are listed: too many to look through")))
    }

    fn address(&self, list: &Url, after: Option<&str>) -> Url {
        let mut url = list.clone();
        url.query_pairs_mut().append_pair("limit", &self.jobs.to_string());
        if let Some(after) = after {
            url.query_pairs_mut().append_pair(self.after, after);
        }
        url
    }
}

/// Whether to stop looking.
pub(super) fn enough(is: bool) -> ControlFlow<()> {
    if is { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
