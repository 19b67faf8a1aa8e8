/*
 * Keeps a tenant's role in its place. In PostgreSQL 15 a role with CREATEROLE may grant, alter and drop every role that
 * is no superuser, and the owner of a database may set parameters for all who connect to it. SQL cannot take that away,
 * so this library, which the server preloads, looks at each statement of a role that is no superuser:
 *
 * - The platform's roles are reserved. They are not altered, renamed or dropped, no role of such a name is made, and
 *   only memberships on a list are granted.
 * - The platform's database is not dropped or renamed, and only settings on a list are made for all who connect to it.
 * - Password hashes are not read, also not with pg_read_all_data.
 * - No superuser logs in over TCP, and roles of the tenant leave connections for the platform's.
 *
 * The lists are settings of postgresql.conf; names may end with `*`.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "commands/dbcommands.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "libpq/auth.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/proc.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

static char *reserved_roles;
static char *lent_roles;
static char *configurable_roles;
static char *reserved_databases;
static char *database_settings;
static char *tenant_roles;
static int	tenant_connections;

static ProcessUtility_hook_type previous_utility;
static ExecutorCheckPerms_hook_type previous_permissions;
static ClientAuthentication_hook_type previous_authentication;

/* Whether a name is on a list of names and prefixes. */
static bool
on_list(const char *list, const char *name)
{
	char	   *copy = pstrdup(list);
	List	   *words;
	ListCell   *cell;
	bool		found = false;

	if (!SplitIdentifierString(copy, ',', &words))
		ereport(ERROR, (errmsg("supalove_guard: a list cannot be read: %s", list)));
	foreach(cell, words)
	{
		const char *word = lfirst(cell);
		size_t		length = strlen(word);

		if (length > 0 && word[length - 1] == '*' ? strncmp(word, name, length - 1) == 0 : strcmp(word, name) == 0)
			found = true;
	}
	list_free(words);
	pfree(copy);
	return found;
}

static void
refuse(const char *what, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("\"%s\" is reserved: %s", name, what)));
}

static bool
is_reserved(const char *role)
{
	return on_list(reserved_roles, role);
}

/* The name that a statement means; NULL for PUBLIC. */
static char *
role_of(RoleSpec *spec)
{
	if (spec->roletype == ROLESPEC_PUBLIC)
		return NULL;
	if (spec->roletype == ROLESPEC_CSTRING)
		return spec->rolename;
	return get_rolespec_name(spec);
}

static void
check_granted(const char *role)
{
	if (is_reserved(role) && !on_list(lent_roles, role))
		refuse("a membership in it cannot be granted", role);
}

static void
check_created(CreateRoleStmt *statement)
{
	ListCell   *cell;

	if (is_reserved(statement->role))
		refuse("no role of this name can be made", statement->role);
	foreach(cell, statement->options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);
		ListCell   *role;

		if (strcmp(option->defname, "addroleto") != 0)
			continue;
		foreach(role, (List *) option->arg)
		{
			char	   *name = role_of(lfirst_node(RoleSpec, role));

			if (name)
				check_granted(name);
		}
	}
}

static void
check_membership(GrantRoleStmt *statement)
{
	ListCell   *granted;
	ListCell   *grantee;

	foreach(granted, statement->granted_roles)
	{
		char	   *role = lfirst_node(AccessPriv, granted)->priv_name;

		if (role == NULL)
			continue;
		if (statement->is_grant)
		{
			check_granted(role);
			continue;
		}
		foreach(grantee, statement->grantee_roles)
		{
			char	   *member = role_of(lfirst_node(RoleSpec, grantee));

			if (member && is_reserved(role) && is_reserved(member) && !on_list(tenant_roles, member))
				refuse("its memberships in the platform's roles cannot be revoked", member);
		}
	}
}

/* GRANT and REVOKE on objects: the platform's roles keep their way into the platform's database. */
static void
check_privileges(GrantStmt *statement)
{
	ListCell   *cell;

	if (statement->is_grant || statement->objtype != OBJECT_DATABASE || statement->targtype != ACL_TARGET_OBJECT)
		return;
	foreach(cell, statement->grantees)
	{
		char	   *role = role_of(lfirst_node(RoleSpec, cell));

		if (role && is_reserved(role) && !on_list(tenant_roles, role))
			refuse("its privileges on a database cannot be revoked", role);
	}
}

static void
check_owned(List *roles)
{
	ListCell   *cell;

	foreach(cell, roles)
	{
		char	   *role = role_of(lfirst_node(RoleSpec, cell));

		if (role && is_reserved(role) && !on_list(tenant_roles, role))
			refuse("what it owns or may do cannot be dropped or reassigned", role);
	}
}

static void
check_database(const char *name, const char *what)
{
	if (on_list(reserved_databases, name))
		refuse(what, name);
}

/* A setting for everybody who connects to a database reaches the platform's sessions too. */
static void
check_database_setting(VariableSetStmt *setting)
{
	char	   *name;

	/* RESET, and RESET ALL, take away what was set. */
	if (setting->kind == VAR_RESET || setting->kind == VAR_RESET_ALL)
		return;
	name = setting->name ? pstrdup(setting->name) : pstrdup("");
	for (char *c = name; *c; c++)
		*c = pg_tolower((unsigned char) *c);
	if (!on_list(database_settings, name))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("parameter \"%s\" cannot be set for a whole database", name),
				 errhint("Set it for a role: ALTER ROLE ... SET.")));
}

static void
check_statement(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_CreateRoleStmt:
			check_created((CreateRoleStmt *) statement);
			break;
		case T_AlterRoleStmt:
			{
				AlterRoleStmt *alter = (AlterRoleStmt *) statement;
				char	   *role = role_of(alter->role);
				ListCell   *option;

				/* ALTER GROUP ... ADD USER is a grant under another name. */
				foreach(option, alter->options)
					if (strcmp(lfirst_node(DefElem, option)->defname, "rolemembers") == 0)
					{
						if (role && alter->action == +1)
							check_granted(role);
						else if (role && is_reserved(role))
							refuse("its members cannot be removed this way", role);
						return;
					}
				if (role && is_reserved(role))
					refuse("it cannot be altered", role);
				break;
			}
		case T_AlterRoleSetStmt:
			{
				AlterRoleSetStmt *alter = (AlterRoleSetStmt *) statement;
				char	   *role = alter->role ? role_of(alter->role) : NULL;

				if (role && is_reserved(role) && !on_list(configurable_roles, role))
					refuse("its settings cannot be changed", role);
				if (!role && alter->setstmt)
					check_database_setting(alter->setstmt);
				break;
			}
		case T_DropRoleStmt:
			{
				ListCell   *cell;

				foreach(cell, ((DropRoleStmt *) statement)->roles)
				{
					char	   *role = role_of(lfirst_node(RoleSpec, cell));

					if (role && is_reserved(role))
						refuse("it cannot be dropped", role);
				}
				break;
			}
		case T_RenameStmt:
			{
				RenameStmt *rename = (RenameStmt *) statement;

				if (rename->renameType == OBJECT_ROLE)
				{
					if (is_reserved(rename->subname))
						refuse("it cannot be renamed", rename->subname);
					if (is_reserved(rename->newname))
						refuse("no role can get this name", rename->newname);
				}
				if (rename->renameType == OBJECT_DATABASE)
				{
					check_database(rename->subname, "it cannot be renamed");
					check_database(rename->newname, "no database can get this name");
				}
				break;
			}
		case T_GrantRoleStmt:
			check_membership((GrantRoleStmt *) statement);
			break;
		case T_GrantStmt:
			check_privileges((GrantStmt *) statement);
			break;
		case T_DropOwnedStmt:
			check_owned(((DropOwnedStmt *) statement)->roles);
			break;
		case T_ReassignOwnedStmt:
			check_owned(((ReassignOwnedStmt *) statement)->roles);
			break;
		case T_CreatedbStmt:
			check_database(((CreatedbStmt *) statement)->dbname, "no database of this name can be made");
			break;
		case T_DropdbStmt:
			check_database(((DropdbStmt *) statement)->dbname, "it cannot be dropped");
			break;
		case T_AlterDatabaseStmt:
			check_database(((AlterDatabaseStmt *) statement)->dbname, "it cannot be altered");
			break;
		case T_AlterOwnerStmt:
			{
				AlterOwnerStmt *alter = (AlterOwnerStmt *) statement;

				if (alter->objectType == OBJECT_DATABASE)
					check_database(strVal(alter->object), "its owner cannot be changed");
				break;
			}
		case T_AlterDatabaseSetStmt:
			{
				AlterDatabaseSetStmt *alter = (AlterDatabaseSetStmt *) statement;

				if (on_list(reserved_databases, alter->dbname))
					check_database_setting(alter->setstmt);
				break;
			}
		default:
			break;
	}
}

static void
guard_utility(PlannedStmt *plan, const char *query, bool read_only_tree, ProcessUtilityContext context,
			  ParamListInfo parameters, QueryEnvironment *environment, DestReceiver *destination,
			  QueryCompletion *completion)
{
	if (!superuser())
		check_statement(plan->utilityStmt);
	if (previous_utility)
		previous_utility(plan, query, read_only_tree, context, parameters, environment, destination, completion);
	else
		standard_ProcessUtility(plan, query, read_only_tree, context, parameters, environment, destination,
								completion);
}

/* pg_read_all_data opens the system catalogs too, among them the one with everybody's password hash. */
static bool
guard_permissions(List *range_table, bool report)
{
	ListCell   *cell;

	foreach(cell, range_table)
	{
		RangeTblEntry *entry = lfirst_node(RangeTblEntry, cell);
		Oid			user;
		bool		hashes;

		if (entry->rtekind != RTE_RELATION || entry->requiredPerms == 0 || entry->relid >= FirstNormalObjectId)
			continue;
		hashes = entry->relid == AuthIdRelationId ||
			(entry->relkind == RELKIND_VIEW && entry->relid == get_relname_relid("pg_shadow", PG_CATALOG_NAMESPACE));
		user = OidIsValid(entry->checkAsUser) ? entry->checkAsUser : GetUserId();
		if (!hashes || superuser_arg(user))
			continue;
		if (report)
			aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, get_rel_name(entry->relid));
		return false;
	}
	return previous_permissions ? previous_permissions(range_table, report) : true;
}

/* Sessions of roles that are the tenant's: all but the platform's. */
static int
sessions_of_the_tenant(void)
{
	int			count = 0;

	for (uint32 i = 0; i < ProcGlobal->allProcCount; i++)
	{
		PGPROC	   *process = &ProcGlobal->allProcs[i];
		Oid			role = process->roleId;
		char	   *name;

		if (process->pid == 0 || !OidIsValid(role) || process == MyProc)
			continue;
		name = GetUserNameFromId(role, true);
		if (name == NULL || !is_reserved(name) || on_list(tenant_roles, name))
			count++;
	}
	return count;
}

static void
guard_authentication(Port *port, int status)
{
	Oid			role;

	if (previous_authentication)
		previous_authentication(port, status);
	if (status != STATUS_OK)
		return;
	role = get_role_oid(port->user_name, true);
	if (!OidIsValid(role))
		return;
	if (superuser_arg(role))
	{
		if (port->raddr.addr.ss_family != AF_UNIX)
			ereport(FATAL,
					(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
					 errmsg("superusers do not log in over the network")));
		return;
	}
	if (is_reserved(port->user_name) && !on_list(tenant_roles, port->user_name))
		return;
	if (sessions_of_the_tenant() >= tenant_connections)
		ereport(FATAL,
				(errcode(ERRCODE_TOO_MANY_CONNECTIONS),
				 errmsg("the %d connections for roles of your own are in use", tenant_connections)));
}

static void
define_list(const char *name, const char *description, char **value)
{
	DefineCustomStringVariable(name, description, NULL, value, "", PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
}

void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		ereport(ERROR, (errmsg("supalove_guard belongs into shared_preload_libraries")));
	define_list("supalove_guard.reserved_roles", "Roles of the platform.", &reserved_roles);
	define_list("supalove_guard.lent_roles", "Reserved roles in which everybody with CREATEROLE may grant a membership.",
				&lent_roles);
	define_list("supalove_guard.configurable_roles", "Reserved roles whose settings may be changed.", &configurable_roles);
	define_list("supalove_guard.tenant_roles", "Reserved roles that the tenant uses itself.", &tenant_roles);
	define_list("supalove_guard.reserved_databases", "Databases of the platform.", &reserved_databases);
	define_list("supalove_guard.database_settings", "What may be set for all who connect to a reserved database.",
				&database_settings);
	DefineCustomIntVariable("supalove_guard.tenant_connections", "Connections for roles that are not the platform's.",
							NULL, &tenant_connections, 60, 1, 10000, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	MarkGUCPrefixReserved("supalove_guard");

	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = guard_utility;
	previous_permissions = ExecutorCheckPerms_hook;
	ExecutorCheckPerms_hook = guard_permissions;
	previous_authentication = ClientAuthentication_hook;
	ClientAuthentication_hook = guard_authentication;
}
