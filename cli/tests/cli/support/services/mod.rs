//! The services of the fake API, a file for each part of the API. Methods that no test calls answer UNIMPLEMENTED.

use tonic::{Response, Status};

type Answer<T> = Result<Response<T>, Status>;

/// Methods that no test needs, in the form that `async_trait` gives to the others.
macro_rules! unused {
    ($($name:ident($request:ty) -> $response:ty;)*) => {$(
        fn $name<'s, 'f>(
            &'s self,
            _: Request<$request>,
        ) -> Pin<Box<dyn Future<Output = Answer<$response>> + Send + 'f>>
        where
            's: 'f,
            Self: 'f,
        {
            Box::pin(async { Err(Status::unimplemented(stringify!($name))) })
        }
    )*};
}

mod accounts;
mod audit;
mod images;
mod leftovers;
mod organizations;
mod platform;
mod projects;
mod registries;
mod usage;

pub use projects::project;
