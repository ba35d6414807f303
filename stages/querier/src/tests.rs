//! The querier as a whole: real log in memory, real blocks, ingesters that answer as told.

mod budgets;
mod fixture;
mod jobs;
mod recent;
mod search;
mod tail;
