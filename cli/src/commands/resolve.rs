//! Resolves names of projects, nodes and organizations, and beginnings of ids, to the refs, ids and slugs of the API.
//! Passes everything that the API itself understands unchanged.

use supalove_proto::v1::{
    Invitation, ListOperationsRequest, Member, Node, Organization, PersonalAccessToken, Project, Session,
    operation_service_client::OperationServiceClient,
};

use super::{
    Context, access_tokens, authorities, clusters, invitations, join_token, members, nodes, organizations,
    projects, sessions,
};
use crate::{chosen::Chosen, error::Error};

/// Length of a project's ref.
const REF_LETTERS: usize = 20;
/// Number of hexadecimal digits of an id after its prefix.
const ID_DIGITS: usize = 32;
/// Minimum length of a prefix of a ref or id.
const SHORTEST: usize = 4;

/// Resolves a project: a ref, a name, `organization/name`, or the beginning of a ref. Without one, the default project.
pub async fn project(context: &Context, given: Option<&str>) -> Result<String, Error> {
    let chosen = context.chosen()?;
    let Some(given) = given.map(str::to_owned).or_else(|| chosen.project.clone()) else {
        return Err(Error::Usage(
            "which project? Name it, or choose one: supalove use <ORGANIZATION> <PROJECT>".into(),
        ));
    };
    if is_ref(&given) {
        return Ok(given);
    }
    let all = projects::all(context, "", true).await?;
    Ok(pick_project(&all, &given, &chosen)?.r#ref.clone())
}

/// Picks the project that a text names from a list.
pub fn pick_project<'a>(all: &'a [Project], given: &str, chosen: &Chosen) -> Result<&'a Project, Error> {
    let (organization, name) = match given.split_once('/') {
        Some((organization, name)) => (Some(organization), name),
        None => (None, given),
    };
    // A chosen organization bounds what is found: `delete shop` must not mean the shop of another one.
    let chosen = chosen.organization.as_deref();
    let is = |slug: Option<&str>, p: &&Project| slug.is_none_or(|slug| p.organization == slug);
    let bound = organization.or(chosen);
    let mut found: Vec<&Project> = all.iter().filter(|p| is(bound, p) && p.name == name).collect();
    if found.is_empty() {
        // A name may contain a slash.
        found = all.iter().filter(|p| is(chosen, p) && p.name == given).collect();
    }
    if found.is_empty() && name.len() >= SHORTEST {
        found = all.iter().filter(|p| is(bound, p) && p.r#ref.starts_with(name)).collect();
    }
    if found.is_empty()
        && let Some(chosen) = chosen
        && let Some(other) = all.iter().find(|p| p.name == given)
    {
        return Err(Error::Usage(format!(
            "{chosen}, which is chosen, has no project {given:?}. If you mean that of another organization, write {}/{}",
            other.organization, other.name
        )));
    }
    one("project", given, "projects list --deleted", &found, |p| {
        format!("{}  {}/{}", p.r#ref, p.organization, p.name)
    })
}

/// Resolves an organization: a slug or a name. Without one, the default organization, else the only one.
pub async fn organization(context: &Context, given: Option<&str>) -> Result<String, Error> {
    let given = match given {
        Some(given) => Some(given.to_owned()),
        None => context.chosen()?.organization,
    };
    let all = organizations::all(context).await?.organizations;
    let Some(given) = given else {
        return match all.as_slice() {
            [only] => Ok(only.slug.clone()),
            [] => Err(Error::Usage(
                "you have no organization yet; make one: supalove organizations create <NAME>".into(),
            )),
            several => Err(Error::Usage(format!(
                "which organization? Name it with --organization, or choose one: supalove use <ORGANIZATION>. There are {}",
                several.iter().map(|one| one.slug.as_str()).collect::<Vec<_>>().join(", ")
            ))),
        };
    };
    if all.iter().any(|one| one.slug == given) {
        return Ok(given);
    }
    let found: Vec<&Organization> = all.iter().filter(|one| one.name == given).collect();
    if found.is_empty() && is_slug(&given) {
        // The operator may name an organization without being a member.
        return Ok(given);
    }
    let organization = one("organization", &given, "organizations list", &found, |one| one.slug.clone())?;
    Ok(organization.slug.clone())
}

/// Resolves a member of an organization: an id or an e-mail address.
pub async fn member(context: &Context, organization: &str, given: &str) -> Result<String, Error> {
    if is_id(given, "usr_") {
        return Ok(given.to_owned());
    }
    let all = members::all(context, organization).await?.members;
    let found: Vec<&Member> = all.iter().filter(|member| member.email.eq_ignore_ascii_case(given)).collect();
    let member = one("member", given, "members list", &found, |member| member.email.clone())?;
    Ok(member.user_id.clone())
}

/// Resolves an open invitation: an e-mail address, an id, or the beginning of one.
pub async fn invitation(context: &Context, organization: &str, given: &str) -> Result<String, Error> {
    if is_id(given, "inv_") {
        return Ok(given.to_owned());
    }
    let all = invitations::all(context, organization).await?.invitations;
    let is = |one: &&Invitation| one.email.eq_ignore_ascii_case(given) || begins(&one.id, given, "inv_");
    let found: Vec<&Invitation> = all.iter().filter(is).collect();
    let shown = |one: &Invitation| format!("{}  {}", one.id, one.email);
    Ok(one("invitation", given, "invitations list", &found, shown)?.id.clone())
}

/// Resolves one of the caller's sessions: an id, or the beginning of one.
pub async fn session(context: &Context, given: &str) -> Result<String, Error> {
    if is_id(given, "ses_") {
        return Ok(given.to_owned());
    }
    let all = sessions::all(context).await?.sessions;
    let found: Vec<&Session> = all.iter().filter(|session| begins(&session.id, given, "ses_")).collect();
    Ok(one("session", given, "sessions list", &found, |session| session.id.clone())?.id.clone())
}

/// Resolves one of the caller's personal access tokens: an id, or the beginning of one.
pub async fn access_token(context: &Context, given: &str) -> Result<String, Error> {
    if is_id(given, "pat_") {
        return Ok(given.to_owned());
    }
    let all = access_tokens::all(context).await?.personal_access_tokens;
    let found: Vec<&PersonalAccessToken> =
        all.iter().filter(|token| begins(&token.id, given, "pat_")).collect();
    let shown = |token: &PersonalAccessToken| format!("{}  {}", token.id, token.name);
    Ok(one("access token", given, "access-tokens list", &found, shown)?.id.clone())
}

/// Resolves a node: an id, the beginning of one, or the host's name.
pub async fn node(context: &Context, given: &str) -> Result<String, Error> {
    if is_id(given, "nod_") {
        return Ok(given.to_owned());
    }
    let mut all = Vec::new();
    for cluster in clusters::readable(context).await? {
        all.extend(nodes::all(context, &cluster).await?.nodes);
    }
    let mut found: Vec<&Node> = all.iter().filter(|node| node.name.eq_ignore_ascii_case(given)).collect();
    if found.is_empty() {
        found = all.iter().filter(|node| begins(&node.id, given, "nod_")).collect();
    }
    let node = one("node", given, "nodes list --all", &found, |node| format!("{}  {}", node.id, node.name))?;
    Ok(node.id.clone())
}

/// Resolves an operation. A project means its newest operation.
pub async fn operation(context: &Context, given: &str) -> Result<String, Error> {
    if given.starts_with("opr_") {
        return Ok(given.to_owned());
    }
    let project_ref = project(context, Some(given)).await?;
    let request = ListOperationsRequest { project_ref, page_size: 1, page_token: String::new() };
    let newest = context
        .client
        .call(request, |channel, request| async move {
            OperationServiceClient::new(channel).list_operations(request).await
        })
        .await?;
    let newest = newest.operations.into_iter().next();
    newest.map(|operation| operation.id).ok_or_else(|| Error::NoSuch {
        kind: "operation",
        name: given.to_owned(),
        list: "operations list",
    })
}

/// Resolves a join token: an id or the beginning of one.
pub async fn join_token(context: &Context, given: &str) -> Result<String, Error> {
    if is_id(given, "jtk_") {
        return Ok(given.to_owned());
    }
    let mut all = Vec::new();
    for cluster in clusters::readable(context).await? {
        all.extend(join_token::all(context, &cluster, true).await?.join_tokens);
    }
    let found = all.iter().filter(|token| begins(&token.id, given, "jtk_")).collect::<Vec<_>>();
    Ok(one("join token", given, "join-token list --all", &found, |token| token.id.clone())?.id.clone())
}

/// Resolves a root of the fleet's CA: an id or the beginning of one.
pub async fn authority(context: &Context, given: &str) -> Result<String, Error> {
    if is_id(given, "aut_") {
        return Ok(given.to_owned());
    }
    let all = authorities::all(context).await?.authorities;
    let found = all.iter().filter(|root| begins(&root.id, given, "aut_")).collect::<Vec<_>>();
    Ok(one("authority", given, "authorities list", &found, |root| root.id.clone())?.id.clone())
}

/// Returns the only match, or an error with the remedy.
fn one<'a, T>(
    kind: &'static str,
    given: &str,
    list: &'static str,
    found: &[&'a T],
    shown: impl Fn(&T) -> String,
) -> Result<&'a T, Error> {
    match found {
        [one] => Ok(one),
        [] => Err(Error::NoSuch { kind, name: given.to_owned(), list }),
        several => Err(Error::Ambiguous {
            kind,
            name: given.to_owned(),
            candidates: several.iter().map(|one| crate::output::clean(&shown(one))).collect(),
        }),
    }
}

fn is_ref(text: &str) -> bool {
    text.len() == REF_LETTERS && text.bytes().all(|b| b.is_ascii_lowercase())
}

fn is_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix)
        .is_some_and(|digits| digits.len() == ID_DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// True if `given` is the id or a long enough beginning of it, with or without the prefix.
fn begins(id: &str, given: &str, prefix: &str) -> bool {
    let digits = given.strip_prefix(prefix).unwrap_or(given);
    id == given
        || (digits.len() >= SHORTEST && id.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(digits)))
}

fn is_slug(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(r#ref: &str, organization: &str, name: &str) -> Project {
        Project {
            r#ref: r#ref.into(),
            organization: organization.into(),
            name: name.into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_project_goes_by_name_by_organization_and_by_the_beginning_of_its_ref() {
        let all = [
            project("aaaabcdefghijklmnopq", "acme", "shop"),
            project("aaaaxyzefghijklmnopq", "other", "shop"),
            project("bbbbxyzefghijklmnopq", "other", "a/b"),
        ];
        let nothing = Chosen::default();
        let acme = Chosen { organization: Some("acme".into()), project: None };
        let picked =
            |given: &str, chosen: &Chosen| pick_project(&all, given, chosen).map(|p| p.r#ref.clone());
        assert_eq!(picked("acme/shop", &nothing).unwrap(), all[0].r#ref);
        assert_eq!(picked("shop", &acme).unwrap(), all[0].r#ref);
        assert_eq!(picked("a/b", &nothing).unwrap(), all[2].r#ref);
        let elsewhere = picked("a/b", &acme).unwrap_err().to_string();
        assert!(elsewhere.contains("acme, which is chosen"), "{elsewhere}");
        assert!(elsewhere.contains("write other/a/b"), "{elsewhere}");
        assert_eq!(picked("other/a/b", &acme).unwrap(), all[2].r#ref);
        assert_eq!(picked("aaaax", &nothing).unwrap(), all[1].r#ref);
        for ambiguous in ["shop", "aaaa"] {
            let error = picked(ambiguous, &nothing).unwrap_err().to_string();
            assert!(error.contains("acme/shop") && error.contains("other/shop"), "{error}");
        }
        assert!(matches!(picked("bbb", &nothing), Err(Error::NoSuch { .. })), "too short");
    }

    #[test]
    fn an_id_may_be_cut_short_but_not_too_short() {
        let id = format!("nod_{}", "0123456789abcdef".repeat(2));
        assert!(is_id(&id, "nod_") && !is_id("nod_1", "nod_"));
        assert!(begins(&id, "nod_0123", "nod_") && begins(&id, "0123", "nod_") && begins(&id, &id, "nod_"));
        assert!(!begins(&id, "nod_012", "nod_") && !begins(&id, "4567", "nod_"));
    }
}
