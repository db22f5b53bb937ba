//! The itemised fare, and the tally that builds it and applies caps as charges come in.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::price::{LocalClock, PriceError};
use super::sheet::{CapScope, MinuteOfDay, PriceSheet};
use crate::kernel::money::Vnd;

/// What a stay costs, line by line. The lines always sum to the total, which is never negative.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fare {
    /// To be paid.
    pub total: Vnd,
    /// In order of time; caps and credits at the end.
    pub lines: Vec<FareLine>,
    /// What the driver should be told about the total.
    pub notes: Vec<FareNote>,
}

/// One line of a fare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FareLine {
    /// First instant that the line is about.
    pub from: Timestamp,
    /// First instant after it.
    pub to: Timestamp,
    /// Started units.
    pub units: i64,
    /// Price of one.
    pub unit_price_vnd: Vnd,
    /// `units` × `unit_price_vnd`; negative for caps and credits.
    pub amount_vnd: Vnd,
    /// What it is, in Vietnamese.
    pub label: Cow<'static, str>,
    /// What it is, for programs.
    pub kind: LineKind,
}

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineKind {
    /// Started units of a ladder.
    Metered,
    /// A flat band, such as a night of six turns.
    Flat,
    /// Time that costs nothing.
    Free,
    /// A day turn.
    TurnDay,
    /// A night turn.
    TurnNight,
    /// A day-and-night turn.
    TurnDayAndNight,
    /// What a cap takes off.
    Cap,
    /// What earlier legs of the stay were charged.
    AlreadyCharged,
    /// The price while the system cannot work one out.
    Fallback,
}

/// What the driver should be told about a fare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FareNote {
    /// A cap took something off.
    Capped,
    /// A shorter stay from the same entry would have cost more.
    CheaperForLonger,
    /// The stay continues an earlier one; what that was charged has been taken off.
    Continued,
    /// The tariff could not be applied; this is its fallback price.
    Fallback,
}

/// A line in local minutes, before it is shown.
struct Draft<'s> {
    from: i64,
    to: i64,
    units: i64,
    unit_price: Vnd,
    label: Cow<'s, str>,
    kind: LineKind,
    /// The step, band or cap that it belongs to: equal neighbours become one line.
    source: u32,
}

/// A stretch of time and what it is charged as.
pub(super) struct Charged<'s> {
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) units: i64,
    pub(super) unit_price: Vnd,
    pub(super) label: &'s str,
    pub(super) kind: LineKind,
    pub(super) source: u32,
}

/// The most stretches that a stay of ninety days can fall into: 24 bands, a midnight and an own
/// midnight a day, and every free period's ends. Reached only by a fault in the walk.
const STEPS_MAX: u32 = 90 * 30 * 4;

/// Adds charges up, in order of time, and cuts each one at the caps.
///
/// Cutting charge by charge gives `min(cap, sum)` for every scope, and it can only ever grow with
/// time, so that a cap never makes a longer stay cheaper.
pub(super) struct Tally<'s> {
    sheet: &'s PriceSheet,
    origin: i64,
    wants_lines: bool,
    drafts: Vec<Draft<'s>>,
    cut: Vec<Draft<'s>>,
    total: Vnd,
    window: (i64, Vnd),
    band: (Option<(&'s str, i64)>, Vnd),
    pub(super) steps: u32,
    pub(super) cheaper_for_longer: bool,
}

impl<'s> Tally<'s> {
    pub(super) fn new(sheet: &'s PriceSheet, origin: i64, wants_lines: bool) -> Tally<'s> {
        Tally {
            sheet,
            origin,
            wants_lines,
            drafts: Vec::new(),
            cut: Vec::new(),
            total: Vnd::ZERO,
            window: (0, Vnd::ZERO),
            band: (None, Vnd::ZERO),
            steps: 0,
            cheaper_for_longer: false,
        }
    }

    /// Counts a stretch; refuses more than any stay can have.
    pub(super) fn step(&mut self) -> Result<(), PriceError> {
        self.steps = self.steps.saturating_add(1);
        if self.steps > STEPS_MAX { Err(PriceError::TooManySteps) } else { Ok(()) }
    }

    /// First minute of the 24 hours after those that `at` lies in.
    pub(super) fn window_end(&self, at: i64) -> i64 {
        let passed = (at - self.origin).rem_euclid(MinuteOfDay::DAY);
        at - passed + MinuteOfDay::DAY
    }

    /// Charges a stretch that lies within one 24-hour window. `occurrence` is the band's key and
    /// the minute at which this time of it began.
    pub(super) fn charge(
        &mut self,
        charged: &Charged<'s>,
        occurrence: Option<(&'s str, i64)>,
    ) -> Result<(), PriceError> {
        let whole = charged.unit_price.times(charged.units)?;
        if self.wants_lines {
            push(
                &mut self.drafts,
                Draft {
                    from: charged.from,
                    to: charged.to,
                    units: charged.units,
                    unit_price: charged.unit_price,
                    label: Cow::Borrowed(charged.label),
                    kind: charged.kind,
                    source: charged.source,
                },
            );
        }
        let number = (charged.from - self.origin).div_euclid(MinuteOfDay::DAY);
        if self.window.0 != number {
            self.window = (number, Vnd::ZERO);
        }
        if self.band.0 != occurrence {
            self.band = (occurrence, Vnd::ZERO);
        }
        let mut left = whole;
        for scope in 0..3_u8 {
            left = self.cut_at(scope, left, charged)?;
        }
        self.total = self.total.plus(left)?;
        Ok(())
    }

    /// Applies the caps of one scope (0 band, 1 window, 2 stay) to what is left of a charge.
    fn cut_at(&mut self, scope: u8, charge: Vnd, on: &Charged<'s>) -> Result<Vnd, PriceError> {
        let band_key = self.band.0.map(|(key, _)| key);
        let cap = self.sheet.caps.iter().zip(0_u32..).find(|(cap, _)| match &cap.scope {
            CapScope::Band(key) => scope == 0 && band_key == Some(key.as_str()),
            CapScope::Per24h => scope == 1,
            CapScope::PerStay => scope == 2,
        });
        let so_far = match scope {
            0 => self.band.1,
            1 => self.window.1,
            _ => self.total,
        };
        let Some((cap, index)) = cap else { return self.note_charged(scope, charge) };
        let kept = charge.min(cap.amount_vnd.minus(so_far)?.max(Vnd::ZERO));
        let over = charge.minus(kept)?;
        if self.wants_lines && over > Vnd::ZERO {
            push(
                &mut self.cut,
                Draft {
                    from: on.from,
                    to: on.to,
                    units: 1,
                    unit_price: over.negated(),
                    label: Cow::Borrowed(&cap.label),
                    kind: LineKind::Cap,
                    source: index,
                },
            );
        }
        self.note_charged(scope, kept)
    }

    fn note_charged(&mut self, scope: u8, kept: Vnd) -> Result<Vnd, PriceError> {
        match scope {
            0 => self.band.1 = self.band.1.plus(kept)?,
            1 => self.window.1 = self.window.1.plus(kept)?,
            _ => {}
        }
        Ok(kept)
    }

    /// Records time that costs nothing.
    pub(super) fn free(&mut self, from: i64, to: i64, label: Cow<'s, str>) {
        if !self.wants_lines {
            return;
        }
        let draft = Draft {
            from,
            to,
            units: 0,
            unit_price: Vnd::ZERO,
            label,
            kind: LineKind::Free,
            source: u32::MAX,
        };
        push(&mut self.drafts, draft);
    }

    /// Lets the last line reach to `to`: more time of a unit that is already charged.
    pub(super) fn reach(&mut self, to: i64) {
        if let Some(last) = self.drafts.last_mut() {
            last.to = last.to.max(to);
        }
    }

    pub(super) fn total(&self) -> Vnd {
        self.total
    }

    /// The fare, with local minutes turned into instants.
    pub(super) fn finish(self, clock: &LocalClock) -> Result<Fare, PriceError> {
        let mut notes = Vec::new();
        if !self.cut.is_empty() {
            notes.push(FareNote::Capped);
        }
        if self.cheaper_for_longer {
            notes.push(FareNote::CheaperForLonger);
        }
        let mut lines = Vec::with_capacity(self.drafts.len() + self.cut.len());
        for draft in self.drafts.into_iter().chain(self.cut) {
            lines.push(FareLine {
                from: clock.instant(draft.from)?,
                to: clock.instant(draft.to)?,
                units: draft.units,
                unit_price_vnd: draft.unit_price,
                amount_vnd: draft.unit_price.times(draft.units)?,
                label: Cow::Owned(draft.label.into_owned()),
                kind: draft.kind,
            });
        }
        Ok(Fare { total: self.total, lines, notes })
    }
}

/// Adds a line, or makes the last one longer where they are of one piece.
fn push<'s>(drafts: &mut Vec<Draft<'s>>, draft: Draft<'s>) {
    if let Some(last) = drafts.last_mut()
        && last.kind == draft.kind
        && last.source == draft.source
        && last.label == draft.label
        && (last.to == draft.from || draft.kind == LineKind::Cap)
    {
        if draft.kind == LineKind::Cap
            && let Ok(sum) = last.unit_price.plus(draft.unit_price)
        {
            last.unit_price = sum;
            last.to = draft.to;
            return;
        }
        if last.unit_price == draft.unit_price {
            last.units += draft.units;
            last.to = draft.to;
            return;
        }
    }
    drafts.push(draft);
}
