//! What the lines of a batch's results mean for rows, in the layer's own words.

use reqwest::StatusCode;
use serde_json::json;

use super::rejection::{Complaint, plain};
use super::{Event, Failure, FailureKind, FinishReason, Usage};
use crate::batch_file::{Answer, Problem};

/// The events by which a row ends that a batch answered, or did not.
pub fn events_of_result(row: usize, outcome: Result<Answer, Problem>) -> Vec<Event> {
    match outcome {
        Ok(answer) => {
            let usage =
                Usage { prompt_tokens: answer.prompt_tokens, output_tokens: answer.output_tokens };
            let count = answer.output_tokens.unwrap_or(0);
            let reason = reason(answer.finish_reason.as_deref());
            let text = answer.text;
            let tokens = Event::Tokens { row, count, ids: Vec::new(), text };
            vec![tokens, Event::Finished { row, usage, reason }]
        }
        Err(problem) => vec![Event::Failed { row, failure: failure(&problem) }],
    }
}

/// The reason in the words of any vendor.
fn reason(word: Option<&str>) -> FinishReason {
    match word {
        Some("stop" | "end_turn" | "stop_sequence") => FinishReason::Stop,
        Some("length" | "max_tokens" | "model_context_window_exceeded") => FinishReason::Length,
        Some("tool_calls" | "tool_use" | "function_call") => FinishReason::Tool,
        Some("content_filter" | "refusal") => FinishReason::Filter,
        Some(other) => FinishReason::Other(plain(other)),
        None => FinishReason::Other("unknown".into()),
    }
}

fn failure(problem: &Problem) -> Failure {
    let Problem { status, code, message } = problem;
    if let Some("canceled" | "cancelled" | "batch_cancelled") = code.as_deref() {
        return Failure::new(FailureKind::Cancelled, plain(message));
    }
    let error = json!({"error": {"code": code, "message": message}});
    let complaint = Complaint::find(&error).unwrap_or_default();
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    complaint.failure("the batch", status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_text_and_its_counts() {
        let answer = Answer {
            text: "yes".into(),
            output_tokens: Some(2),
            finish_reason: Some("max_tokens".into()),
            ..Answer::default()
        };
        let usage = Usage { prompt_tokens: None, output_tokens: Some(2) };
        let expected = [
            Event::Tokens { row: 3, count: 2, ids: Vec::new(), text: "yes".into() },
            Event::Finished { row: 3, usage, reason: FinishReason::Length },
        ];
        assert_eq!(events_of_result(3, Ok(answer)), expected);
    }

    #[test]
    fn a_problem_is_a_failure_of_its_kind_fit_to_be_shown() {
        let cases = [
            (Some(400), None, FailureKind::InvalidRequest),
            (Some(429), None, FailureKind::RateLimited),
            (None, Some("overloaded_error"), FailureKind::Overloaded),
            (None, Some("batch_expired"), FailureKind::Server),
            (None, Some("canceled"), FailureKind::Cancelled),
        ];
        for (status, code, kind) in cases {
            let problem =
                Problem { status, code: code.map(str::to_owned), message: "\u{1b}[2Jno".into() };
            let failure = failure(&problem);
            assert_eq!(failure.kind, kind, "{problem:?}");
            assert!(failure.message.contains("no"), "{failure}");
            assert!(!failure.message.contains('\u{1b}'), "{failure}");
        }
    }
}
