/*
 * Keeps a tenant's role in its place. In PostgreSQL 15 a role with CREATEROLE may grant, alter and drop every role that
 * is no superuser, and the owner of a database may set parameters for all who connect to it. SQL cannot take that away,
 * so this library, which the server preloads, looks at each statement of a role that is no superuser:
 *
 * - The platform's roles are reserved. They are not altered, renamed or dropped, no role of such a name is made, and
 *   only memberships on a list are granted.
 * - The platform's database is not dropped or renamed, and only settings on a list are made for all who connect to it.
 * - Password hashes are not read, also not with pg_read_all_data, through a superuser's view or from statistics, and
 *   catalogs are not written, whatever was granted.
 * - No superuser logs in over TCP, roles of the tenant leave connections for the platform's, and only a role on a list
 *   replicates: a base backup is everybody's data.
 * - A superuser runs no code of others: of SQL and PL/pgSQL only what the platform has in its own schemas. So nothing
 *   that a tenant left behind who was a superuser under an older release runs with such rights again, in any database.
 *   C code is the image's own.
 * - Before the platform's SQL of this start has run, nobody but superusers gets in and pg_cron begins no job.
 *
 * The lists are settings of postgresql.conf; names may end with `*`.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_language.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_statistic.h"
#include "commands/dbcommands.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "libpq/auth.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "postmaster/bgworker.h"
#include "postmaster/bgworker_internals.h"
#include "replication/walsender.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/varlena.h"
#include "utils/wait_event.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

static char *reserved_roles;
static char *lent_roles;
static char *configurable_roles;
static char *reserved_databases;
static char *database_settings;
static char *tenant_roles;
static char *service_roles;
static char *replication_roles;
static char *superuser_schemas;
static char *started_file;
static int	tenant_connections;

static ProcessUtility_hook_type previous_utility;
static ExecutorCheckPerms_hook_type previous_permissions;
static ClientAuthentication_hook_type previous_authentication;
static needs_fmgr_hook_type previous_needs_function;
static fmgr_hook_type previous_function;
static object_access_hook_type previous_access;
static shmem_startup_hook_type previous_startup;

PGDLLEXPORT void guard_cron_main(Datum argument);

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

/* Only a superuser makes functions of these, also where one has marked them as trusted. */
static void
check_language(CreateFunctionStmt *statement)
{
	ListCell   *cell;

	foreach(cell, statement->options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);
		char	   *language;

		if (strcmp(option->defname, "language") != 0)
			continue;
		language = strVal(option->arg);
		if (strcmp(language, "c") == 0 || strcmp(language, "internal") == 0)
			refuse("a function in this language is a superuser's", language);
	}
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
				bool		only_members = false;
				ListCell   *option;

				/* ALTER GROUP ... ADD USER is a grant under another name; ALTER ROLE has it beside other options. */
				foreach(option, alter->options)
					if (strcmp(lfirst_node(DefElem, option)->defname, "rolemembers") == 0)
					{
						if (role && alter->action == +1)
							check_granted(role);
						else if (role && is_reserved(role))
							refuse("its members cannot be removed this way", role);
						only_members = list_length(alter->options) == 1;
					}
				if (role && is_reserved(role) && !only_members)
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
		case T_CreateFunctionStmt:
			check_language((CreateFunctionStmt *) statement);
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

/*
 * pg_read_all_data opens the system catalogs too, among them the one with everybody's password hash. A view runs with
 * its owner's rights, so a superuser's view could show it as well: what counts is who asks. One system view for
 * everybody reads the hash without showing it: pg_user.
 */
static bool
guard_permissions(List *range_table, bool report)
{
	ListCell   *cell;
	int			hashes = 0;

	if (superuser())
		return previous_permissions ? previous_permissions(range_table, report) : true;
	foreach(cell, range_table)
	{
		RangeTblEntry *entry = lfirst_node(RangeTblEntry, cell);
		Oid			user;
		bool		refused = false;

		if (entry->rtekind != RTE_RELATION || entry->requiredPerms == 0 || entry->relid >= FirstNormalObjectId)
			continue;
		user = OidIsValid(entry->checkAsUser) ? entry->checkAsUser : GetUserId();
		if (entry->relid == AuthIdRelationId)
		{
			refused = !superuser_arg(user);
			if (bms_is_member(Anum_pg_authid_rolpassword - FirstLowInvalidHeapAttributeNumber, entry->selectedCols) ||
				bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, entry->selectedCols))
				hashes++;
		}
		else if (entry->relid == StatisticRelationId)
			/* The most common values of a column of hashes are hashes. */
			refused = !superuser_arg(user) ||
				SearchSysCacheExists3(STATRELATTINH, ObjectIdGetDatum(AuthIdRelationId),
									  Int16GetDatum(Anum_pg_authid_rolpassword), BoolGetDatum(false));
		else if (entry->relkind == RELKIND_VIEW && entry->relid == get_relname_relid("pg_user", PG_CATALOG_NAMESPACE))
			hashes--;
		else if (entry->relkind == RELKIND_VIEW && entry->relid == get_relname_relid("pg_shadow", PG_CATALOG_NAMESPACE))
			refused = !superuser_arg(user);
		if (entry->relkind == RELKIND_RELATION && (entry->requiredPerms & (ACL_INSERT | ACL_UPDATE | ACL_DELETE)) != 0)
			refused = true;
		if (!refused)
			continue;
		if (report)
			aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, get_rel_name(entry->relid));
		return false;
	}
	if (hashes > 0)
	{
		if (report)
			aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, "pg_authid");
		return false;
	}
	return previous_permissions ? previous_permissions(range_table, report) : true;
}

/* Whether the platform's SQL of this start has run. Without a file there is no tenant yet: the first start. */
static bool
has_started(void)
{
	return started_file[0] == '\0' || access(started_file, F_OK) == 0;
}

/* What reads and writes the server's files. */
static bool
is_of_files(Oid function)
{
	switch (function)
	{
		case F_LO_IMPORT_TEXT:
		case F_LO_IMPORT_TEXT_OID:
		case F_LO_EXPORT:
		case F_PG_READ_FILE_TEXT:
		case F_PG_READ_FILE_TEXT_INT8_INT8:
		case F_PG_READ_FILE_TEXT_INT8_INT8_BOOL:
		case F_PG_READ_BINARY_FILE_TEXT:
		case F_PG_READ_BINARY_FILE_TEXT_INT8_INT8:
		case F_PG_READ_BINARY_FILE_TEXT_INT8_INT8_BOOL:
		case F_PG_LS_DIR_TEXT:
		case F_PG_LS_DIR_TEXT_BOOL_BOOL:
		case F_PG_STAT_FILE_TEXT:
		case F_PG_STAT_FILE_TEXT_BOOL:
			return true;
		default:
			return false;
	}
}

static void
forbid(const char *why, const char *function)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("function \"%s\" does not run: %s", function, why)));
}

/*
 * Before a function runs. The server's own functions in C do not come here: their code is compiled in, whatever the
 * catalog says of them.
 */
static void
check_function(Oid function)
{
	HeapTuple	tuple;
	Form_pg_proc form;
	bool		null;
	Datum		datum;

	if (!IsUnderPostmaster || started_file[0] == '\0')
		return;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	if (form->prolang == ClanguageId)
	{
		datum = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_probin, &null);
		if (null || strncmp(TextDatumGetCString(datum), "$libdir/", 8) != 0 ||
			strchr(TextDatumGetCString(datum) + 8, '/') != NULL)
			forbid("its library is not one of the image", NameStr(form->proname));
	}
	else if (form->prolang == INTERNALlanguageId && function >= FirstNormalObjectId)
	{
		/* Another name for one of the server's own: for whom that one is for. */
		Oid			original;

		datum = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &null);
		original = null ? InvalidOid : fmgr_internal_function(TextDatumGetCString(datum));
		if (OidIsValid(original) && !superuser() &&
			(is_of_files(original) || pg_proc_aclcheck(original, GetUserId(), ACL_EXECUTE) != ACLCHECK_OK))
			forbid("it stands for a function that is a superuser's", NameStr(form->proname));
	}
	else if (form->prolang != INTERNALlanguageId && superuser() && (function >= FirstNormalObjectId || !has_started()))
	{
		char	   *schema = get_namespace_name(form->pronamespace);

		if (!has_started())
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("the database was tampered with: function \"%s\" would run with a superuser's rights before the start is done",
							NameStr(form->proname)),
					 errhint("Dump it as the role postgres and restore it into a new project.")));
		if (!superuser_arg(form->proowner) || schema == NULL || !on_list(superuser_schemas, schema))
			forbid("a superuser runs no code of others", NameStr(form->proname));
	}
	ReleaseSysCache(tuple);
}

/* Asked for each function that is looked up and has neither SECURITY DEFINER nor settings. */
static bool
guard_needs_function(Oid function)
{
	check_function(function);
	return previous_needs_function ? previous_needs_function(function) : false;
}

/* Called for those that have, when their owner's rights and their settings hold already. */
static void
guard_function(FmgrHookEventType event, FmgrInfo *info, Datum *argument)
{
	if (event == FHET_START)
		check_function(info->fn_oid);
	if (previous_function)
		previous_function(event, info, argument);
}

/* What reads and writes files is a superuser's, whatever was granted. */
static void
guard_access(ObjectAccessType access, Oid class, Oid object, int part, void *argument)
{
	if (previous_access)
		previous_access(access, class, object, part, argument);
	if (access != OAT_FUNCTION_EXECUTE || object >= FirstNormalObjectId || superuser())
		return;
	if (is_of_files(object))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, get_func_name(object));
}

/* Sessions of roles that the tenant may use: all but those that only the platform's services log in as. */
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
		if (name == NULL || !on_list(service_roles, name))
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
		if (am_walsender)
			ereport(FATAL,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("role \"%s\" opens no replication connection", port->user_name)));
		if (port->raddr.addr.ss_family != AF_UNIX)
			ereport(FATAL,
					(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
					 errmsg("superusers do not log in over the network")));
		return;
	}
	if (am_walsender && !on_list(replication_roles, port->user_name))
		ereport(FATAL,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" opens no replication connection", port->user_name),
				 errhint("Use the SQL functions of logical replication slots.")));
	if (!has_started())
		ereport(FATAL,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("the platform has not set up this start of the database yet")));
	if (on_list(service_roles, port->user_name))
		return;
	if (sessions_of_the_tenant() >= tenant_connections)
		ereport(FATAL,
				(errcode(ERRCODE_TOO_MANY_CONNECTIONS),
				 errmsg("the %d connections for roles of your own are in use", tenant_connections)));
}

/* In place of pg_cron's own: it begins when the platform's SQL has run, so that no job comes before it. */
void
guard_cron_main(Datum argument)
{
	bgworker_main_type main;

	BackgroundWorkerUnblockSignals();
	while (!has_started())
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 100L, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	main = (bgworker_main_type) load_external_function("pg_cron", "PgCronLauncherMain", true, NULL);
	main(argument);
}

/* Every library has registered its workers by now. */
static void
guard_startup(void)
{
	slist_iter	iterator;

	if (previous_startup)
		previous_startup();
	slist_foreach(iterator, &BackgroundWorkerList)
	{
		BackgroundWorker *worker = &slist_container(RegisteredBgWorker, rw_lnode, iterator.cur)->rw_worker;

		if (strcmp(worker->bgw_library_name, "pg_cron") == 0 &&
			strcmp(worker->bgw_function_name, "PgCronLauncherMain") == 0)
		{
			strlcpy(worker->bgw_library_name, "supalove_guard", BGW_MAXLEN);
			strlcpy(worker->bgw_function_name, "guard_cron_main", BGW_MAXLEN);
		}
	}
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
	define_list("supalove_guard.service_roles", "Reserved roles that the platform's services log in as.", &service_roles);
	define_list("supalove_guard.replication_roles", "Roles that may open replication connections.", &replication_roles);
	define_list("supalove_guard.superuser_schemas", "Schemas of functions that superusers run.", &superuser_schemas);
	define_list("supalove_guard.started_file", "Is there once the platform's SQL of this start has run.", &started_file);
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
	previous_needs_function = needs_fmgr_hook;
	needs_fmgr_hook = guard_needs_function;
	previous_function = fmgr_hook;
	fmgr_hook = guard_function;
	previous_access = object_access_hook;
	object_access_hook = guard_access;
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = guard_startup;
}
