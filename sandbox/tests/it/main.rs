//! The sandbox as its users see it: a real process, HTTP, and a merchant that listens.

// The attributes let helpers off the same lints as the tests themselves.
#[cfg(test)]
mod control;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod payments;
#[cfg(test)]
mod refunds;
#[cfg(test)]
mod support;
