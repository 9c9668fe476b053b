//! Empirical audit: what attacks and statistics show about the noise, beside what the accountant claims (privacy.md D70). Knows no clock, no
//! file and no records; all data here is made up.

pub mod bounds;
