//! `doctor`: checks an installation from outside, as people and operators reach it.

mod entrances;
mod findings;
mod machine;
mod services;

use futures_util::future::join_all;

use crate::AdminError;
use crate::args::DoctorArgs;
use crate::endpoint::resolve_all;
use crate::http::Http;
use crate::scrape::Sample;

use entrances::Entrances;
use findings::Report;

/// Runs every check. Nothing is stored on the way: no session is opened.
pub(crate) async fn examine(args: &DoctorArgs) -> Result<Report, AdminError> {
    let http = Http::new(args.admin.timeout)?;
    let entrances = Entrances { http: &http, timeout: args.admin.timeout };
    let (page, socket, core) =
        tokio::join!(entrances.page(&args.url), entrances.web_socket(&args.url), entrances.core(&args.core));
    let mut findings = page;
    findings.push(socket);
    findings.push(core);
    let endpoints = resolve_all(&args.admin.endpoints).await;
    let scrapes = join_all(endpoints.iter().map(|endpoint| Sample::take(&http, endpoint))).await;
    let samples: Vec<_> = endpoints.iter().zip(scrapes).collect();
    findings.extend(samples.iter().flat_map(|(endpoint, sample)| services::examine(endpoint, sample)));
    let reached: Vec<_> =
        samples.iter().filter_map(|(endpoint, sample)| Some((*endpoint, sample.as_ref().ok()?))).collect();
    findings.extend(services::versions(&reached));
    findings.push(machine::disk(&args.disk));
    Ok(Report::new(findings))
}
