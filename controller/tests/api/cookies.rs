//! Cookies, over HTTP/1.1 and HTTP/2: read whole, and only for pages of allowed origins.

use http::{Request, StatusCode, header};
use prost::Message;
use supalove_proto::v1::{RefreshRequest, RefreshTokenDelivery, SignInRequest};
use supalove_system_tests::{Api, Controller, EMAIL, Options, PASSWORD, Server};
use tonic::Code;
use tower::{Service as _, ServiceExt as _};

const SIGN_IN: &str = "/supalove.v1.AuthService/SignIn";
const REFRESH: &str = "/supalove.v1.AuthService/Refresh";
const LISTED: &str = "https://dashboard.example.com";

fn sign_in() -> SignInRequest {
    SignInRequest {
        email: EMAIL.into(),
        password: PASSWORD.into(),
        refresh_token_delivery: RefreshTokenDelivery::Cookie.into(),
    }
}

/// A message in a gRPC frame, which gRPC-web has, too.
fn framed(message: &impl Message) -> Vec<u8> {
    let body = message.encode_to_vec();
    [&[0][..], &u32::try_from(body.len()).unwrap().to_be_bytes(), &body].concat()
}

/// HTTP status, gRPC status if it is in the head, and cookies of an answer.
type Answered = (u16, Option<i32>, Vec<String>);

async fn over_http2(api: &Api, path: &str, fields: &[(&str, &str)], body: Vec<u8>) -> Answered {
    let mut request = Request::post(path);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let body = tonic::body::Body::new(http_body_util::Full::from(body));
    let mut channel = api.channel.clone();
    let answer = channel.ready().await.unwrap().call(request.body(body).unwrap()).await.unwrap();
    let text = |name: header::HeaderName| {
        answer
            .headers()
            .get_all(name)
            .iter()
            .map(|value| value.to_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let status =
        text(header::HeaderName::from_static("grpc-status")).first().map(|code| code.parse().unwrap());
    (answer.status().as_u16(), status, text(header::SET_COOKIE))
}

fn over_http1(controller: &Controller, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Answered {
    let server = Server::new(&format!("http://127.0.0.1:{}", controller.public_port));
    let answer = tokio::task::block_in_place(|| server.send("POST", path, fields, body));
    let status = answer.header("grpc-status").first().map(|code| code.parse().unwrap());
    (answer.status, status, answer.header("set-cookie").into_iter().map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_cookie_is_found_among_several_fields_and_pairs() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let answer = api.auth().sign_in(sign_in()).await.unwrap();
    let cookie = answer.metadata().get("set-cookie").unwrap().to_str().unwrap().to_owned();
    let pair = cookie.split(';').next().unwrap();
    let mut split = tonic::Request::new(RefreshRequest::default());
    for field in ["theme=dark", pair, "lang=en"] {
        split.metadata_mut().append("cookie", field.parse().unwrap());
    }
    let answer = api.auth().refresh(split).await.unwrap();
    let next =
        answer.metadata().get("set-cookie").unwrap().to_str().unwrap().split(';').next().unwrap().to_owned();

    let web = ("content-type", "application/grpc-web+proto");
    let fields = [web, ("cookie", &*format!("theme=dark;{next}; lang=en"))];
    let (status, _, cookies) = over_http1(&controller, REFRESH, &fields, &framed(&RefreshRequest::default()));
    assert_eq!((status, cookies.len()), (200, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_foreign_origins_and_forms_get_no_cookie() {
    let arguments = vec!["--cors-origin".to_owned(), LISTED.to_owned()];
    let controller = Controller::start_with(Options { arguments, ..Options::default() }).await;
    let api = controller.operator().await;
    let own = format!("http://127.0.0.1:{}", controller.public_port);
    let kinds = ["application/grpc", "application/grpc-web+proto"];
    for (http2, kind) in [(true, kinds[0]), (true, kinds[1]), (false, kinds[1])] {
        let ask = async |fields: &[(&str, &str)]| {
            let body = framed(&sign_in());
            if http2 {
                over_http2(&api, SIGN_IN, fields, body).await
            } else {
                over_http1(&controller, SIGN_IN, fields, &body)
            }
        };
        let denied = Some(Code::PermissionDenied as i32);
        for origin in
            ["https://evil.example", "null", "https://dashboard.example.com.evil.example", "http://127.0.0.1"]
        {
            let (_, code, cookies) = ask(&[("content-type", kind), ("origin", origin)]).await;
            assert_eq!((code, cookies.len()), (denied, 0), "{kind} from {origin}, HTTP/2: {http2}");
        }
        for origin in [Some(LISTED), Some(own.as_str()), None] {
            let origin = origin.map(|origin| ("origin", origin));
            let fields: Vec<_> = [("content-type", kind)].into_iter().chain(origin).collect();
            let (status, _, cookies) = ask(&fields).await;
            assert_eq!((status, cookies.len()), (200, 1), "{kind} from {origin:?}, HTTP/2: {http2}");
        }
        for form in
            ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/grpcx"]
        {
            let (status, _, cookies) = ask(&[("content-type", form)]).await;
            assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE.as_u16(), "{form}, HTTP/2: {http2}");
            assert!(cookies.is_empty());
        }
    }
}
