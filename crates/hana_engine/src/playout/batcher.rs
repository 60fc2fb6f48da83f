use std::time::Duration;

use hana_protocol::message::ModulationBatch;

/// A batcher: gathers the values that are set for a visualization's parameters and packs them into modulation
/// batches.
///
/// Values set within [`BatcherSettings::moment`] count as set at the same time. A batch is sent as soon as a moment
/// is over, but at least [`BatcherSettings::every`] after the previous batch. So a value after a pause is sent at
/// once, and a stream of values takes few messages. A batch may be lost, so a value that does not change is
/// retransmitted twice, with its original timestamp. Pure: it takes the time as Unix microseconds. It allocates only
/// when it is created.
#[derive(Debug, Clone)]
pub struct Batcher {
    settings: BatcherSettings,
    instance: u64,
    /// The times of the moments in the next batch, ascending.
    times: Vec<i64>,
    /// The start of the first and of the last moment.
    began: (i64, i64),
    /// The values of these moments, one row per moment; NaN where no value was set.
    rows: Vec<f32>,
    most_rows: usize,
    parameters: Vec<RecordedBatch>,
    /// The time at which the last batch was sent.
    left: Option<i64>,
    next_repeat: Option<i64>,
    dropped: u64,
}

/// The timing of the batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatcherSettings {
    /// The time within which values count as set at the same time; of each parameter, only the last value is kept.
    pub moment: Duration,
    /// The minimum interval between two batches, and so about the longest wait of a value. Zero sends each moment
    /// separately.
    pub every: Duration,
}

impl Default for BatcherSettings {
    /// Returns settings for a thousand values a second: a batch holds four and delays each by about 4 ms at most.
    fn default() -> Self {
        Self { moment: Duration::from_micros(500), every: Duration::from_millis(4) }
    }
}

/// The last value set for a parameter.
#[derive(Debug, Clone, Copy)]
struct RecordedBatch {
    value: f32,
    at: i64,
    stage: SampleStage,
    is_set: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SampleStage {
    /// No transmission is pending.
    Done,
    /// The value is part of the next batch.
    New,
    /// The value was sent, and has been retransmitted this many times.
    Repeated(usize),
    /// The value is due for one more retransmission, since earlier transmissions may be lost.
    Again,
}

impl Batcher {
    /// The times at which an unchanged value is retransmitted, counted from when it was set.
    pub const REPEATS: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(200)];

    /// Creates a batcher for `parameters` parameters of the visualization's instance `instance`.
    ///
    /// Parameters beyond [`ModulationBatch::MAX_PARAMETERS`] are not played.
    #[must_use]
    pub fn new(instance: u64, parameters: usize, settings: BatcherSettings) -> Self {
        let parameters = parameters.min(ModulationBatch::MAX_PARAMETERS);
        let most_rows = (ModulationBatch::MAX_VALUES / parameters.max(1))
            .clamp(1, ModulationBatch::MAX_MOMENTS);
        Self {
            settings,
            instance,
            times: Vec::with_capacity(most_rows + 1),
            began: (0, 0),
            rows: Vec::with_capacity((most_rows + 1) * parameters),
            most_rows,
            parameters: vec![RecordedBatch::NEVER; parameters],
            left: None,
            next_repeat: None,
            dropped: 0,
        }
    }

    /// Returns the number of moments that were dropped because the batches were not collected in time.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Sets a parameter, by its index in the visualization's info, at `now`.
    ///
    /// Returns `false` if there is no such parameter or the value is not finite. Does not check the parameter's
    /// range.
    pub fn set(&mut self, index: usize, value: f32, now: i64) -> bool {
        let width = self.parameters.len();
        if index >= width || !value.is_finite() {
            return false;
        }
        if self.left.is_some_and(|left| left > now) {
            self.begin_anew();
        }
        if let [first, ..] = self.times[..]
            && now.saturating_sub(first) >= us(ModulationBatch::MAX_SPAN)
        {
            // The moments have waited for longer than a batch may span: they are merged into one at the current time.
            self.forget(self.times.len() - 1);
            self.times[0] = now;
            self.began = (now, now);
        }
        // If the clock is set back meanwhile, the moments still stay in order.
        let now = self.times.last().map_or(now, |last| now.max(*last));
        let is_over = now.saturating_sub(self.began.1) >= us(self.settings.moment).max(1);
        match self.times.last_mut() {
            Some(last) if !is_over => *last = now,
            _ => self.begin_slice(now),
        }
        let row = self.rows.len() - width;
        self.rows[row + index] = value;
        self.parameters[index] =
            RecordedBatch { value, at: now, stage: SampleStage::New, is_set: true };
        true
    }

    /// Schedules one retransmission, with original timestamps, of every value set since `since` that was already
    /// sent.
    pub fn retransmit_since(&mut self, since: i64) {
        for parameter in &mut self.parameters {
            let is_said = matches!(parameter.stage, SampleStage::Done | SampleStage::Repeated(_));
            if is_said && parameter.is_set && parameter.at >= since {
                parameter.stage = SampleStage::Again;
                self.next_repeat = Some(i64::MIN);
            }
        }
    }

    /// Restores a value that was set at `at`, before this batcher was created, and schedules it with that timestamp.
    ///
    /// Returns `false` if there is no such parameter or the value is not finite.
    pub fn restore(&mut self, index: usize, value: f32, at: i64) -> bool {
        let Some(parameter) = self.parameters.get_mut(index).filter(|_| value.is_finite()) else {
            return false;
        };
        *parameter = RecordedBatch { value, at, stage: SampleStage::Again, is_set: true };
        self.next_repeat = Some(i64::MIN);
        true
    }

    fn begin_slice(&mut self, now: i64) {
        if self.times.is_empty() {
            self.began.0 = now;
        }
        self.began.1 = now;
        self.times.push(now);
        self.rows.resize(self.rows.len() + self.parameters.len(), f32::NAN);
        if self.times.len() > self.most_rows {
            self.forget(1);
        }
    }

    /// Drops the oldest `moments` moments, but keeps the newest value of each parameter. More moments must exist.
    fn forget(&mut self, moments: usize) {
        let width = self.parameters.len();
        for place in 0..moments * width {
            let (value, next) = (self.rows[place], place + width);
            if self.rows[next].is_nan() {
                self.rows[next] = value;
            }
        }
        self.dropped += moments as u64;
        self.times.drain(..moments);
        self.rows.drain(..moments * width);
    }

    /// Clears all due times, which are meaningless after the clock was set back.
    fn begin_anew(&mut self) {
        self.left = None;
        self.next_repeat = None;
        for parameter in &mut self.parameters {
            if matches!(parameter.stage, SampleStage::Repeated(_)) {
                parameter.stage = SampleStage::Done;
            }
        }
    }

    /// Returns the time of the next call of [`take`](Self::take); `None` while no transmission is pending.
    #[must_use]
    pub fn due(&self) -> Option<i64> {
        self.frame_due().into_iter().chain(self.next_repeat).min()
    }

    fn frame_due(&self) -> Option<i64> {
        self.times.first()?;
        let moment = us(self.settings.moment);
        let earliest = self.began.0.saturating_add(moment);
        let next = self.left.map_or(earliest, |left| left.saturating_add(us(self.settings.every)));
        let due = next.max(earliest);
        // A moment that is still growing delays the batch, by two moments at most.
        let over = self.began.1.saturating_add(moment);
        Some(over.clamp(due, due.saturating_add(2 * moment)))
    }

    /// Fills `frame` with the next batch due at `now`; returns `false` if there is none.
    ///
    /// Call it until it returns `false`.
    pub fn take(&mut self, now: i64, frame: &mut ModulationBatch) -> bool {
        frame.instance = self.instance;
        frame.after.clear();
        frame.indices.clear();
        frame.samples.clear();
        let is_due = |due: Option<i64>| due.is_some_and(|due| due <= now);
        if is_due(self.frame_due()) {
            self.take_slices(now, frame);
        } else if is_due(self.next_repeat) {
            self.repeat(now, frame);
        } else {
            return false;
        }
        let repeats = self.parameters.iter().filter_map(RecordedBatch::repeat_due);
        self.next_repeat = repeats.min();
        !frame.indices.is_empty()
    }

    // The indices fit into 16 bits, because the number of parameters is limited.
    #[allow(clippy::cast_possible_truncation)]
    fn take_slices(&mut self, now: i64, frame: &mut ModulationBatch) {
        let Some(first) = self.times.first().copied() else { return };
        let width = self.parameters.len();
        frame.at = first;
        let after = |at: &i64| u32::try_from(at - first).unwrap_or(u32::MAX);
        frame.after.extend(self.times.iter().map(after));
        let new = |of: &RecordedBatch| of.stage == SampleStage::New;
        let parameters = self.parameters.iter().enumerate();
        frame.indices.extend(parameters.filter(|(_, of)| new(of)).map(|(index, _)| index as u16));
        for (at, row) in self.times.iter().zip(self.rows.chunks(width)) {
            for index in &frame.indices {
                let value = row[usize::from(*index)];
                frame.samples.push(value);
                if !value.is_nan() {
                    self.parameters[usize::from(*index)].at = *at;
                }
            }
        }
        for parameter in self.parameters.iter_mut().filter(|of| new(of)) {
            parameter.stage = SampleStage::Repeated(0);
        }
        self.times.clear();
        self.rows.clear();
        self.left = Some(now);
    }

    /// Fills `frame` with the values of one moment for retransmission.
    #[allow(clippy::cast_possible_truncation)]
    fn repeat(&mut self, now: i64, frame: &mut ModulationBatch) {
        let is_due = |of: &&RecordedBatch| of.repeat_due().is_some_and(|due| due <= now);
        let Some(at) = self.parameters.iter().filter(is_due).map(|of| of.at).min() else { return };
        frame.at = at;
        frame.after.push(0);
        for (index, parameter) in self.parameters.iter_mut().enumerate() {
            if parameter.at != at {
                continue;
            }
            parameter.stage = match parameter.stage {
                SampleStage::Repeated(times) if times + 1 < Self::REPEATS.len() => {
                    SampleStage::Repeated(times + 1)
                },
                SampleStage::Repeated(_) | SampleStage::Again => SampleStage::Done,
                SampleStage::Done | SampleStage::New => continue,
            };
            frame.indices.push(index as u16);
            frame.samples.push(parameter.value);
        }
    }
}

impl RecordedBatch {
    const NEVER: Self = Self { value: 0.0, at: 0, stage: SampleStage::Done, is_set: false };

    fn repeat_due(&self) -> Option<i64> {
        let times = match self.stage {
            SampleStage::Repeated(times) => times,
            SampleStage::Again => return Some(i64::MIN),
            SampleStage::Done | SampleStage::New => return None,
        };
        let after = Batcher::REPEATS.get(times)?;
        Some(self.at.saturating_add(us(*after)))
    }
}

fn us(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp, clippy::cast_precision_loss)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const START: i64 = 1_760_000_000_000_000;

    fn recorder(parameters: usize) -> Batcher {
        Batcher::new(7, parameters, BatcherSettings::default())
    }

    /// Returns the batches sent by `now`, each with the time at which it leaves.
    fn run(recorder: &mut Batcher, now: i64) -> Vec<(i64, ModulationBatch)> {
        let mut frames = vec![];
        let mut frame = ModulationBatch::default();
        while let Some(due) = recorder.due().filter(|due| *due <= now) {
            if recorder.take(due, &mut frame) {
                frame.check().unwrap();
                frames.push((due, frame.clone()));
            }
        }
        frames
    }

    #[test]
    fn unconfirmed_values_are_retransmitted_with_original_times() {
        let mut recorder = recorder(4);
        recorder.restore(3, 0.4, START - 5_000_000);
        recorder.set(0, 0.1, START);
        let said = run(&mut recorder, START + 1_000_000);
        assert_eq!(said[0].1.values().collect::<Vec<_>>(), [(3, START - 5_000_000, 0.4)]);
        recorder.set(1, 0.2, START + 1_000_000);
        run(&mut recorder, START + 2_000_000);
        assert_eq!((said.len(), recorder.due()), (1 + 3, None));
        recorder.retransmit_since(START + 1);
        let again = run(&mut recorder, START + 2_000_000);
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].1.values().collect::<Vec<_>>(), [(1, START + 1_000_000, 0.2)]);
        recorder.retransmit_since(i64::MIN);
        let again = run(&mut recorder, START + 3_000_000);
        assert_eq!(again.len(), 3, "never of a parameter that was not set");
        assert_eq!(recorder.due(), None);
    }

    #[test]
    fn value_after_a_pause_is_sent_at_once_with_its_slice() {
        let mut recorder = recorder(3);
        assert_eq!(recorder.due(), None);
        recorder.set(2, 0.25, START);
        recorder.set(0, 0.5, START + 20);
        let frames = run(&mut recorder, START + 1000);
        let [(left, frame)] = &frames[..] else { unreachable!("{frames:?}") };
        assert_eq!(*left, START + 500);
        assert_eq!(
            frame.values().collect::<Vec<_>>(),
            [(0, START + 20, 0.5), (2, START + 20, 0.25)]
        );
        assert_eq!(frame.instance, 7);
    }

    #[test]
    fn thousand_samples_per_second_fit_250_batches_within_5_ms() {
        let mut recorder = recorder(64);
        let mut sent = vec![];
        for n in 0..1000 {
            let now = START + n * 1000;
            sent.append(&mut run(&mut recorder, now));
            for index in 0..64 {
                recorder.set(index, 0.5, now + i64::try_from(index).unwrap());
            }
        }
        sent.append(&mut run(&mut recorder, START + 1_000_000));
        assert!((240..=260).contains(&sent.len()), "{}", sent.len());
        let values: usize = sent.iter().map(|(_, frame)| frame.values().count()).sum();
        assert!((63_500..=64_000).contains(&values), "{values}");
        for (left, frame) in &sent {
            assert!(frame.values().all(|(_, at, _)| left - at <= 5000), "{left} {frame:?}");
        }
    }

    #[test]
    fn unchanged_value_is_repeated_twice_with_its_original_time() {
        let mut recorder = recorder(2);
        recorder.set(0, 0.1, START);
        recorder.set(0, 0.2, START + 1000);
        recorder.set(1, 0.3, START + 2000);
        let frames = run(&mut recorder, START + 1_000_000);
        let said: Vec<(i64, Vec<_>)> =
            frames.iter().map(|(left, frame)| (left - START, frame.values().collect())).collect();
        let repeats = &said[said.len() - 4..];
        assert_eq!(
            repeats,
            [
                (51_000, vec![(0, START + 1000, 0.2)]),
                (52_000, vec![(1, START + 2000, 0.3)]),
                (201_000, vec![(0, START + 1000, 0.2)]),
                (202_000, vec![(1, START + 2000, 0.3)]),
            ]
        );
        assert_eq!(recorder.due(), None);
    }

    #[test]
    fn newest_slices_are_kept_when_none_are_taken() {
        let mut recorder = recorder(64);
        for n in 0..200 {
            recorder.set(0, n as f32 / 200.0, START + n * 1000);
        }
        let mut frame = ModulationBatch::default();
        assert!(recorder.take(START + 200_000, &mut frame));
        frame.check().unwrap();
        assert_eq!((frame.after.len(), recorder.dropped()), (64, 136));
        assert_eq!(frame.last_values().collect::<Vec<_>>(), [(0, 199.0 / 200.0)]);
    }

    #[test]
    fn stepped_clock_stops_nothing() {
        for by in [-3_600_000_000, 3_600_000_000, -100] {
            let mut recorder = recorder(1);
            recorder.set(0, 0.1, START);
            run(&mut recorder, START + 10_000);
            recorder.set(0, 0.2, START + 10_000);
            let now = START + 10_000 + by;
            recorder.set(0, 0.3, now);
            recorder.set(0, 0.4, now + 1000);
            let mut frame = ModulationBatch::default();
            assert!(recorder.take(START.max(now) + 20_000, &mut frame), "{by}");
            assert_eq!(frame.last_values().collect::<Vec<_>>(), [(0, 0.4)], "{by}");
        }
    }

    #[test]
    fn unknown_index_or_invalid_number_is_not_set() {
        let mut recorder = recorder(1);
        assert!(!recorder.set(1, 0.0, START));
        assert!(!recorder.set(0, f32::NAN, START));
        assert!(!Batcher::new(7, 0, BatcherSettings::default()).set(0, 0.0, START));
        assert_eq!(recorder.due(), None);
    }

    proptest! {
        #![proptest_config(hana_random::cases(256))]

        /// Checks, for values set at any times, that all batches are valid, contain only values that were set, and
        /// end with the last value of each parameter.
        #[test]
        fn last_value_of_each_parameter_is_sent_last(
            sets in prop::collection::vec((0_usize..5, -1.0..1.0_f32, 0_i64..3000), 1..300),
            every in 0_u64..20,
            asked in 1_usize..20,
        ) {
            let settings = BatcherSettings { every: Duration::from_millis(every), ..BatcherSettings::default() };
            let mut recorder = Batcher::new(7, 5, settings);
            let mut now = START;
            let (mut set, mut said) = (BTreeMap::new(), BTreeMap::new());
            let mut frames = vec![];
            for (n, (index, value, passed)) in sets.into_iter().enumerate() {
                now += passed;
                recorder.set(index, value, now);
                set.insert(index, value);
                if n % asked == 0 {
                    frames.append(&mut run(&mut recorder, now));
                }
            }
            frames.append(&mut run(&mut recorder, now + 1_000_000));
            for (_, frame) in &frames {
                said.extend(frame.values().map(|(index, _, value)| (index, value)));
            }
            prop_assert_eq!(said, set);
            prop_assert_eq!(recorder.due(), None);
        }
    }
}
