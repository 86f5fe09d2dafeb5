//! Cuts a list into jobs of a size that the vendor takes.

use std::ops::Range;

use jiff::Timestamp;

use super::submit::random;
use super::{Format, JobApi, JobRecord, Offline, Open, Payload};
use crate::batch_file::custom_ids_of_job;
use crate::provider::{Failure, FailureKind, Request};

/// The most jobs of one list.
const MOST_JOBS: usize = 1000;

/// A list that is cut into jobs.
pub(super) struct Parts<'a> {
    api: &'a dyn JobApi,
    format: Format,
    ids: Vec<String>,
    requests: Vec<Request>,
    cuts: Vec<Range<usize>>,
}

/// A job that is to be submitted.
pub(super) struct Part {
    pub job: JobRecord,
    pub payload: Payload,
    pub open: Open,
}

impl Offline<'_> {
    /// Jobs for the open rows, whose requests are named like those of no other list.
    ///
    /// # Errors
    /// What the vendor does not take, however the list is cut.
    pub(super) fn parts(&self, open: Open) -> Result<Parts<'_>, Failure> {
        let requests: Vec<Request> = open.into_values().collect();
        let mut format = self.api.format(&requests.iter().collect::<Vec<_>>())?;
        format.most_requests = format.most_requests.min(self.job_requests.unwrap_or(usize::MAX));
        let prompts: Vec<_> = requests.iter().map(|request| &*request.prompt).collect();
        let ids = custom_ids_of_job(&prompts, &random()[..8]);
        let mut sizes = Vec::with_capacity(requests.len());
        for (id, request) in ids.iter().zip(&requests) {
            sizes.push(self.api.entry(id, request)?.len());
        }
        let cuts = cut(&sizes, &format).map_err(|at| {
            let (row, bytes) = (requests[at].row + 1, sizes[at]);
            let Format { vendor, most_bytes, .. } = format;
            let what = format!(
                "row {row} makes a request of {bytes} bytes, and {vendor} takes at most \
                 {most_bytes} in one job"
            );
            Failure::new(FailureKind::InvalidRequest, what)
        })?;
        if cuts.len() > MOST_JOBS {
            let what = format!(
                "the list would be {} jobs, and {MOST_JOBS} is the most: raise --job-requests, or \
                 split the list",
                cuts.len()
            );
            return Err(Failure::new(FailureKind::InvalidRequest, what));
        }
        Ok(Parts { api: self.api, format, ids, requests, cuts })
    }
}

impl Parts<'_> {
    /// The requests of all jobs.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    pub fn len(&self) -> usize {
        self.cuts.len()
    }

    /// The job at a place.
    ///
    /// # Errors
    /// None that [`Offline::parts`] has not found before.
    pub fn part(&self, place: usize) -> Result<Part, Failure> {
        let range = self.cuts[place].clone();
        let (ids, requests) = (&self.ids[range.clone()], &self.requests[range]);
        let [before, between, after] = self.format.around;
        let mut bytes = before.as_bytes().to_vec();
        for (place, (id, request)) in ids.iter().zip(requests).enumerate() {
            if place > 0 {
                bytes.extend_from_slice(between.as_bytes());
            }
            bytes.append(&mut self.api.entry(id, request)?);
        }
        bytes.extend_from_slice(after.as_bytes());
        let rows = requests.iter().map(|request| request.row).zip(ids.iter().cloned()).collect();
        Ok(Part {
            job: JobRecord::planned(format!("batchgen-{}", random()), Timestamp::now(), rows),
            payload: Payload { bytes, endpoint: self.format.endpoint },
            open: requests.iter().map(|request| (request.row, request.clone())).collect(),
        })
    }
}

/// Cuts requests of these sizes so that every piece fits; gives the place of one that is too
/// large for any.
fn cut(sizes: &[usize], format: &Format) -> Result<Vec<Range<usize>>, usize> {
    let [before, between, after] = format.around.map(str::len);
    let mut cuts: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (place, size) in sizes.iter().enumerate() {
        let alone = before + size + after;
        if alone > format.most_bytes {
            return Err(place);
        }
        match cuts.last_mut() {
            Some(last)
                if last.len() < format.most_requests
                    && bytes + between + size <= format.most_bytes =>
            {
                last.end = place + 1;
                bytes += between + size;
            }
            _ => {
                cuts.push(place..place + 1);
                bytes = alone;
            }
        }
    }
    Ok(cuts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: Format = Format {
        vendor: "",
        endpoint: "",
        around: ["[", ",", "]"],
        most_requests: 3,
        most_bytes: 12,
    };

    #[test]
    fn no_job_has_more_requests_or_bytes_than_the_vendor_takes() {
        assert_eq!(cut(&[1; 7], &FORMAT).unwrap(), [0..3, 3..6, 6..7]);
        // "[" + 4 + "," + 5 + "]" is all that fits
        assert_eq!(cut(&[4, 5, 1, 10, 1], &FORMAT).unwrap(), [0..2, 2..3, 3..4, 4..5]);
        assert_eq!(cut(&[4, 6], &FORMAT).unwrap(), [0..1, 1..2]);
        assert_eq!(cut(&[1, 11], &FORMAT).unwrap_err(), 1);
        assert!(cut(&[], &FORMAT).unwrap().is_empty());
    }
}
