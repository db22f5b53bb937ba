//! Positions on ladders: how many units have started, and what a break does to them.

use super::sheet::{AfterBreak, Ladder, Step};

/// An end that no stay reaches, for a ladder's last step.
const NEVER: i64 = i64::MAX / 4;

/// A step with its place on the ladder.
#[derive(Clone, Copy)]
struct Placed {
    from: i64,
    to: i64,
    unit: i64,
}

/// Units of one step that a stretch starts.
pub(super) struct Started {
    /// Index of the step.
    pub(super) step: usize,
    /// Part of the stretch that lies on the step, in minutes after the stretch's start.
    pub(super) from: i64,
    /// End of that part.
    pub(super) to: i64,
    /// Units that become due in it; possibly none.
    pub(super) units: i64,
}

/// Minutes used on a ladder. A stopped vehicle's meter stands still: away time is not counted.
#[derive(Clone, Copy, Default)]
pub(super) struct Position(i64);

impl Position {
    /// Runs the meter for `minutes` and reports the units that become due, step by step.
    ///
    /// A unit becomes due at its first minute, or `tolerance` minutes later if it is not the
    /// ladder's first.
    pub(super) fn run(
        &mut self,
        ladder: &Ladder,
        tolerance: i64,
        minutes: i64,
        mut each: impl FnMut(Started),
    ) {
        let (begin, end) = (self.0, self.0 + minutes);
        for (index, step) in placed(ladder).enumerate() {
            if step.to <= begin && tolerance == 0 {
                continue;
            }
            if step.from >= end {
                break;
            }
            let units = due_before(step, tolerance, end) - due_before(step, tolerance, begin);
            let (from, to) = (step.from.max(begin), step.to.min(end));
            if units > 0 || from < to {
                // A unit may become due after its step has ended; it gets the minute at hand.
                let from = (from - begin).clamp(0, minutes - 1);
                let to = (to - begin).clamp(from + 1, minutes);
                each(Started { step: index, from, to, units });
            }
        }
        self.0 = end;
    }

    /// A break: the started unit is over, and the ladder restarts or goes on with the next one.
    pub(super) fn interrupt(&mut self, ladder: &Ladder, tolerance: i64, after: AfterBreak) {
        match after {
            AfterBreak::Restart => self.0 = 0,
            AfterBreak::Continue => self.close_unit(ladder, tolerance),
        }
    }

    /// Moves to the end of the started unit, or back to its start if it never became due.
    fn close_unit(&mut self, ladder: &Ladder, tolerance: i64) {
        let at = self.0;
        let Some(step) = placed(ladder).find(|step| step.from <= at && at < step.to) else {
            return;
        };
        let used = (at - step.from).rem_euclid(step.unit.max(1));
        if used == 0 {
            return;
        }
        let start = at - used;
        let due = start == 0 || used > tolerance;
        self.0 = if due { (start + step.unit).min(step.to) } else { start };
    }
}

/// How many units of a step become due before the ladder's minute `at`.
fn due_before(step: Placed, tolerance: i64, at: i64) -> i64 {
    let units = ceil_div(step.to - step.from, step.unit);
    let due = ceil_div(at - tolerance - step.from, step.unit).clamp(0, units);
    if step.from == 0 && at > 0 { due.max(1) } else { due }
}

fn ceil_div(minutes: i64, unit: i64) -> i64 {
    let unit = unit.max(1);
    minutes.div_euclid(unit) + i64::from(minutes.rem_euclid(unit) > 0)
}

fn placed(ladder: &Ladder) -> impl Iterator<Item = Placed> + '_ {
    ladder.steps.iter().scan(0_i64, |from, step: &Step| {
        let to = step.until_minutes.map_or(NEVER, i64::from);
        let placed = Placed { from: *from, to, unit: i64::from(step.unit_minutes) };
        *from = to;
        Some(placed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::money::Vnd;

    fn ladder(steps: &[(Option<u32>, u32)]) -> Ladder {
        let step = |&(until_minutes, unit_minutes): &(Option<u32>, u32)| Step {
            until_minutes,
            unit_minutes,
            price_vnd: Vnd::new(1),
        };
        Ladder { key: "l".into(), steps: steps.iter().map(step).collect() }
    }

    fn units(ladder: &Ladder, tolerance: i64, position: &mut Position, minutes: i64) -> i64 {
        let mut sum = 0;
        position.run(ladder, tolerance, minutes, |started| sum += started.units);
        sum
    }

    #[test]
    fn running_in_pieces_starts_the_same_units_as_running_at_once() {
        let ladder = ladder(&[(Some(90), 90), (Some(1440), 60), (None, 720)]);
        for tolerance in [0, 7] {
            for minutes in 1..3_000 {
                let at_once = units(&ladder, tolerance, &mut Position::default(), minutes);
                let mut position = Position::default();
                let mut pieces = 0;
                for start in (0..minutes).step_by(13) {
                    pieces += units(&ladder, tolerance, &mut position, 13.min(minutes - start));
                }
                assert_eq!(at_once, pieces, "{minutes} min, tolerance {tolerance}");
            }
        }
    }

    #[test]
    fn a_unit_within_the_tolerance_is_not_due_and_not_used_up_by_a_break() {
        let ladder = ladder(&[(None, 60)]);
        let mut position = Position::default();
        assert_eq!(units(&ladder, 5, &mut position, 65), 1);
        position.interrupt(&ladder, 5, AfterBreak::Continue);
        assert_eq!(units(&ladder, 5, &mut position, 5), 0);
        assert_eq!(units(&ladder, 5, &mut position, 1), 1);
    }
}
