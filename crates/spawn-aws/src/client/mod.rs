//! The client: one call signed, sent, sent again where that is safe, and its answer sorted.

mod call;
mod clock;
mod error;
mod percent;
mod protocol;
mod query;
mod retry;
mod service;
mod sign;
mod transport;
mod xml;

pub use call::{Answer, Call, Client, Config};
pub use clock::{Clock, SystemClock, new_token};
pub use error::{AwsError, ErrorKind, Failure, classify, is_throttle, may_be_skew};
pub use query::Lists;
pub use retry::{Pace, Patience, Safety, may_send_again};
pub use service::{
    AUTO_SCALING, DYNAMODB, EC2, Endpoint, IAM, Overrides, PRICING, Partition, Reach, S3,
    SCHEDULER, SERVICE_QUOTAS, SSM, STS, Service, partition,
};
pub use sign::sign;
pub use transport::{HttpRequest, HttpResponse, HttpTransport, Method, Transport, TransportError};

pub(crate) use percent::{decode as percent_decode, encode as percent_encode};
pub(crate) use protocol::{json_call, query_call, query_result_call, rest_json};
pub(crate) use xml::{items, read as read_xml, read_error as read_xml_error};

#[cfg(test)]
pub(crate) use clock::fake::FakeClock;

#[cfg(test)]
pub(crate) mod scripted;
#[cfg(test)]
mod tests;
