//! A forward pass: the phases in their order.

use super::activations::Activations;
use super::cache::CpuCache;
use super::kernels::attention::{Inputs, Layer as AttentionLayer, Results};
use super::kernels::crew::Crew;
use super::kernels::head::{Goal, Logits, Task};
use super::kernels::multiply::Then;
use super::kernels::prepare::Norm;
use super::kernels::upcoming::Upcoming;
use super::matrix::{Matrix, padded_stride};
use super::model::Model;
use super::pack::Linear;
use super::weights::Weights;
use super::workspace::{InBf16, MAX_BF16_ROWS, MAX_ROWS, Workspace};
use crate::engine::EngineError;
use crate::engine::runner::{Answers, Row, Want};

/// The residual stream, and room for what is normalised before it is added.
struct Stream<'a> {
    values: &'a mut Matrix,
    product: &'a mut Option<Matrix>,
}

impl Stream<'_> {
    /// Adds a product, normalised where there is a norm.
    fn add(
        &mut self,
        crew: &mut Crew,
        linear: &Linear,
        weights: &Weights,
        input: &Activations,
        rows: usize,
        norm: Option<Norm<'_>>,
    ) {
        match (norm, &mut self.product) {
            (Some(norm), Some(product)) => {
                crew.multiply(linear, weights, input, rows, product, Then::Store(None));
                crew.add_normed(product, rows, norm, self.values);
            }
            _ => crew.multiply(linear, weights, input, rows, self.values, Then::Add),
        }
    }
}

/// The cosines and sines of a position.
fn turn(angles: &mut [f32], position: usize, frequencies: &[f32]) {
    let (cosines, sines) = angles.split_at_mut(frequencies.len());
    for ((cos, sin), frequency) in cosines.iter_mut().zip(sines).zip(frequencies) {
        (*sin, *cos) = (position as f32 * frequency).sin_cos();
    }
}

impl Workspace {
    /// Computes `rows`; the cache then holds them.
    ///
    /// # Errors
    /// Rows that break the contract of the runner, and memory failures.
    pub fn forward(
        &mut self,
        model: &Model,
        cache: &mut CpuCache,
        rows: &[Row],
        answers: &mut Answers,
    ) -> Result<(), EngineError> {
        self.reserve(model, rows, cache.capacity)?;
        self.head.goals.clear();
        if self.in_bf16 != InBf16::Prompts {
            let all = self.in_bf16 == InBf16::All;
            self.layers(model, cache, rows, all)?;
            self.answer(model, rows, answers);
            return Ok(());
        }
        // all of them are looked at before anything is computed
        self.pass.plan(rows, &cache.lengths, cache.capacity)?;
        for prompts in [true, false] {
            let mut part = std::mem::take(&mut self.part);
            part.clear();
            part.extend(rows.iter().filter(|row| row.prompt == prompts));
            let computed = self.layers(model, cache, &part, prompts);
            self.part = part;
            computed?;
        }
        self.answer(model, rows, answers);
        Ok(())
    }

    /// The layers for `rows`, in bf16 or not.
    fn layers(
        &mut self,
        model: &Model,
        cache: &mut CpuCache,
        rows: &[Row],
        in_bf16: bool,
    ) -> Result<(), EngineError> {
        self.crew.compute_in_bf16(in_bf16);
        self.pass.plan(rows, &cache.lengths, cache.capacity)?;
        let together = if in_bf16 { MAX_BF16_ROWS } else { MAX_ROWS };
        for begin in (0..rows.len()).step_by(together) {
            let end = (begin + together).min(rows.len());
            self.pass.select(begin, end, &model.heads, self.crew.threads());
            let rows = &rows[begin..end];
            self.enter(model, rows)?;
            for number in 0..model.layers.len() {
                self.attention(model, number, cache, rows.len());
                if number + 1 < model.layers.len() {
                    self.feed_forward(model, number, rows.len());
                }
            }
            self.finish(model, rows);
        }
        for (slot, length) in self.pass.lengths() {
            cache.lengths[slot] = length;
        }
        Ok(())
    }

    /// Embeds tokens, and computes the angles of their positions.
    fn enter(&mut self, model: &Model, rows: &[Row]) -> Result<(), EngineError> {
        for (number, row) in rows.iter().enumerate() {
            model.embed(row.token, self.stream.row_mut(number))?;
            turn(self.angles.row_mut(number), row.position, &model.frequencies);
            if let (Some(angles), Some(frequencies)) =
                (&mut self.local_angles, &model.local_frequencies)
            {
                turn(angles.row_mut(number), row.position, frequencies);
            }
        }
        Ok(())
    }

    /// A layer's heads of `rows` rows.
    fn attention(&mut self, model: &Model, number: usize, cache: &mut CpuCache, rows: usize) {
        let (crew, weights, layer) = (&mut self.crew, &model.weights, &model.layers[number]);
        let all = &self.rows[..rows];
        crew.norm(&self.stream, all, model.normed_by(&layer.attention_norm), &mut self.normed);
        let then = Then::Store(layer.bias.as_deref());
        crew.multiply(&layer.qkv, weights, &self.normed, rows, &mut self.qkv, then);
        let head_norms = layer.head_norms.as_ref();
        let attention = AttentionLayer {
            layer: number,
            norms: head_norms.map(|[q, k]| [model.normed_by(q), model.normed_by(k)]),
            window: model.window_of(layer),
            scale: model.query_scale,
        };
        let angles = self.local_angles.as_ref().filter(|_| layer.local);
        let inputs = Inputs {
            qkv: &self.qkv,
            columns: [layer.qkv.columns[0], layer.qkv.columns[1], layer.qkv.columns[2]],
            angles: angles.unwrap_or(&self.angles),
            units: &self.pass.units,
            several: self.pass.several,
            bounds: &self.pass.bounds,
            capacity: cache.capacity,
        };
        let (slots, bases) = (&mut cache.slots, &mut self.bases);
        // of the last layer's rows only those that want an answer are computed further
        let more = number + 1 < model.layers.len();
        let attended = more.then_some(&mut self.attended);
        let results = Results { heads: &mut self.heads, attended };
        crew.attend(model.heads, &attention, &inputs, slots, bases, results);
    }

    /// What comes after a layer's heads, for the first `rows` rows.
    fn feed_forward(&mut self, model: &Model, number: usize, rows: usize) {
        let (crew, weights, layer) = (&mut self.crew, &model.weights, &model.layers[number]);
        let all = &self.rows[..rows];
        let post =
            |which: usize| layer.post_norms.as_ref().map(|norms| model.normed_by(&norms[which]));
        let mut stream = Stream { values: &mut self.stream, product: &mut self.product };
        stream.add(crew, &layer.output, weights, &self.attended, rows, post(0));
        crew.norm(stream.values, all, model.normed_by(&layer.ffn_norm), &mut self.normed);
        // the rows of a prompt would ask for the same keys again and again
        let next = model.layers.get(number + 1).filter(|_| !self.pass.several);
        let upcoming = next.map(|next| Upcoming {
            heads: model.heads,
            layer: number + 1,
            window: model.window_of(next),
            units: &self.pass.units,
            bounds: &self.pass.bounds,
            bases: &self.bases,
            capacity: self.pass.capacity,
        });
        crew.gate(&layer.gated, weights, &self.normed, rows, &mut self.gated, upcoming);
        stream.add(crew, &layer.down, weights, &self.gated, rows, post(1));
    }

    /// What comes after the last layer's heads, for the rows that want an answer, which are put
    /// aside: of the others nobody asks for more than the last layer's keys and values.
    fn finish(&mut self, model: &Model, rows: &[Row]) {
        let goals = &mut self.head.goals;
        let first = goals.len();
        for (number, row) in rows.iter().enumerate() {
            let goal = match row.want {
                Want::Nothing => continue,
                Want::Best => Goal::Best,
                Want::Logits => {
                    Goal::Logits(goals.iter().filter(|goal| **goal != Goal::Best).count())
                }
            };
            let place = goals.len() - first;
            if place != number {
                self.heads.copy_row(number, place);
                self.stream.copy_row(number, place);
            }
            goals.push(goal);
        }
        let count = self.head.goals.len() - first;
        if count > 0 && !model.layers.is_empty() {
            self.crew.take(&self.heads, count, &mut self.attended);
            self.feed_forward(model, model.layers.len() - 1, count);
        }
        for place in 0..count {
            let stream = self.stream.row(place);
            self.head.stream.row_mut(first + place).copy_from_slice(stream);
        }
    }

    /// The answers to `rows`, in their order.
    fn answer(&mut self, model: &Model, rows: &[Row], answers: &mut Answers) {
        let head = &mut self.head;
        let count = head.goals.iter().filter(|goal| **goal != Goal::Best).count();
        let stride = padded_stride(model.vocabulary);
        let room = answers.begin(model.vocabulary, stride, count);
        if head.goals.is_empty() {
            return;
        }
        let all = &head.rows[..head.goals.len()];
        // the head is computed alike for all rows
        self.crew.compute_in_bf16(false);
        self.crew.norm(&head.stream, all, model.normed_by(&model.norm), &mut head.normed);
        let logits = Logits { values: room, stride };
        let task = Task {
            linear: &model.head,
            weights: &model.weights,
            vocabulary: model.vocabulary,
            goals: &head.goals,
        };
        let sketch = self.sketch.get().and_then(Option::as_ref).filter(|_| head.sketched);
        match (sketch, &mut head.bounds) {
            (Some(sketch), Some(bounds)) => {
                self.crew.best(task, sketch, &head.normed, bounds, &mut head.winners);
            }
            _ => self.crew.head(task, &head.normed, &mut head.winners, logits),
        }
        let mut push = |place: usize| match head.goals[place] {
            Goal::Best => answers.push_best(head.winners.winner(place)),
            Goal::Logits(number) => answers.push_logits(number),
        };
        if self.in_bf16 != InBf16::Prompts {
            return (0..head.goals.len()).for_each(push);
        }
        // those of prompts came first
        let wanted = || rows.iter().filter(|row| row.want.anything());
        let (mut prompt, mut other) = (0, wanted().filter(|row| row.prompt).count());
        for row in wanted() {
            let place = if row.prompt { &mut prompt } else { &mut other };
            push(*place);
            *place += 1;
        }
    }
}
