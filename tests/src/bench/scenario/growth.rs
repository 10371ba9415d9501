//! A pass over more and more customers: what each of them costs.

use super::pass::pass;
use crate::bench::options::Growth;
use crate::bench::report::Report;

pub(in crate::bench) fn run(options: &Growth) -> Vec<Report> {
    let one = |customers: &usize| pass("growth", &options.common, *customers, options.servers, None).0;
    options.sizes.iter().map(one).collect()
}
