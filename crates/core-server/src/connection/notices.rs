//! Facts about the service: that it is no person, and its operator.

use protocol::client_frame::Request;
use protocol::server_frame::{About, ResponseResult};
use protocol::{Language, ServerFrame};
use safety::guide::{self, Facts, Topic};

use super::{Context, texts};

/// Builds the response to a request `about`, which needs neither session nor store; `None` for any other method.
pub(super) fn about(request: &Request, context: &Context) -> Option<ServerFrame> {
    (request.method == "about").then(|| ServerFrame::Response {
        id: request.id.clone(),
        result: ResponseResult::About(Box::new(context.about.clone())),
    })
}

/// Renders the page on the service, or on its conduct when a person is at risk, as lines of the plain face.
pub(super) fn guide_lines(topic: Topic, about: &About, language: Language) -> Vec<String> {
    let mut lines = guide::plain_lines(topic, &facts(about), language);
    if topic == Topic::About {
        lines.push(texts::models(language, &about.models));
    }
    lines
}

fn facts(about: &About) -> Facts {
    Facts {
        operator: about.operator.clone(),
        contact: about.contact.clone(),
        retention_days: about.retention_days,
        unreached_days: about.unreached_days,
    }
}
