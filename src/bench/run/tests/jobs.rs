//! Batch jobs over a provider that looks into the journal.

use super::*;
use crate::config::Mode;
use crate::provider::{JobEvent, JobKeeper, JobRecord};

#[test]
fn a_spending_limit_needs_the_price_of_a_batch_job() {
    let job = job(&["offline"], 1);
    let recorder = Recorder::new(&job.plan, 1, Instant::now());
    let mut purse = purse::Purse::new(Some(1.0), &recorder);
    let known = Shouter::default().open().info().clone();
    let info = ProviderInfo { provider: "openai".into(), device: "api.x.com".into(), ..known };
    let refused = purse.open(0, &recorder.lanes[0], &info, Mode::Offline);
    let message = refused.unwrap_err().message;
    assert!(message.contains("in a batch job (batch, its share) is not known"), "{message}");
}

/// Submits nothing, and looks into the journal after each step.
struct Looker {
    info: ProviderInfo,
    runs: PathBuf,
    saw: Mutex<Vec<bool>>,
}

#[async_trait]
impl Provider for Looker {
    fn info(&self) -> &ProviderInfo {
        &self.info
    }

    async fn generate(&self, _: Request, _: Sink, _: CancellationToken) -> Result<(), Failure> {
        panic!("a job has no single rows, and no warm-up");
    }

    async fn batch_generate(
        &self,
        _: Vec<Request>,
        _: BatchSize,
        _: Sink,
        _: CancellationToken,
    ) -> Result<(), Failure> {
        panic!("a job is no batch");
    }

    async fn run_offline(
        &self,
        requests: Vec<Request>,
        jobs: Vec<JobRecord>,
        keeper: Arc<dyn JobKeeper>,
        sink: Sink,
        _: CancellationToken,
    ) -> Result<(), Failure> {
        assert!(jobs.is_empty() && requests.len() == 2);
        let row =
            |row| Event::Finished { row, usage: Usage::default(), reason: FinishReason::Stop };
        let (name, rows) = ("n".to_owned(), vec![(0, "a".to_owned()), (1, "b".to_owned())]);
        let journal = || {
            let run = std::fs::read_dir(&self.runs).unwrap().next().unwrap().unwrap();
            std::fs::read_to_string(run.path().join("journal.jsonl")).unwrap()
        };
        let look = |what: &str| self.saw.lock().unwrap().push(journal().contains(what));
        let at = Timestamp::now();
        keeper.keep(JobEvent::Planned { name: name.clone(), at, rows }).await?;
        look("{\"planned\":{\"name\":\"n\"");
        [0, 1].into_iter().for_each(|place| sink.send(row(place)));
        let status = "completed".to_owned();
        keeper.keep(JobEvent::Over { name, status, counts: None }).await?;
        look("{\"over\":{\"name\":\"n\"");
        // rows that ended before it are there too
        self.saw.lock().unwrap().push(journal().matches("{\"row\":").count() == 2);
        Ok(())
    }
}

#[tokio::test]
async fn what_a_job_needs_is_on_the_disk_before_the_next_step_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let info = Shouter::default().open().info().clone();
    let info = ProviderInfo { offline: Support::Yes, ..info };
    let runs = folder.path().to_owned();
    let provider = Arc::new(Looker { info, runs: runs.clone(), saw: Mutex::default() });
    let mut job = job(&["offline"], 2);
    job.plan.warmup = 1;
    let mut handle = start(job, Arc::new(Ready(provider.clone())), &runs).unwrap();
    while handle.events.recv().await.is_some() {}
    assert_eq!(*provider.saw.lock().unwrap(), [true, true, true]);
}

/// Is open already.
struct Ready(Arc<dyn Provider>);

#[async_trait]
impl OpenProvider for Ready {
    async fn open(
        &self,
        _: &ProviderSpec,
        _: &(dyn Fn(String) + Send + Sync),
        _: CancellationToken,
    ) -> Result<Arc<dyn Provider>, Failure> {
        Ok(self.0.clone())
    }
}
