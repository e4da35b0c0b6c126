use std::{borrow::Cow, fmt};

use meshkit_core::grpc::Code;

/// A call that a server of the control plane refuses, or that a client was refused: a gRPC status without a gRPC library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    code: Code,
    message: Cow<'static, str>,
}

impl Refused {
    /// A refusal with a code, and a message that says what was seen and what was wanted.
    #[must_use]
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }

    /// The code.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    pub(crate) fn of(status: &tonic::Status) -> Self {
        let code = u8::try_from(i32::from(status.code())).ok().and_then(Code::new);
        Self::new(code.unwrap_or(Code::UNKNOWN), status.message().to_owned())
    }

    pub(crate) fn into_status(self) -> tonic::Status {
        tonic::Status::new(i32::from(self.code.get()).into(), self.message)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refused {}
