//! Two separate claims about a pass: integrity and agreement.
