//! Telling people things outside the app. Knows how a message travels, not what it is about.

pub mod sms;
