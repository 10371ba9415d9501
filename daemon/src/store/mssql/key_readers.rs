//! Finds the readers of the key of the fingerprints in the server's lists of permissions, roles and users. Pure.

use std::collections::BTreeSet;

/// Reads the permissions that allow or deny reading the key: on its table `@P1`, on the table's schema, on the database.
/// `SL` is SELECT, `CL` is CONTROL
/// (<https://learn.microsoft.com/sql/relational-databases/system-catalog-views/sys-database-permissions-transact-sql>).
pub(super) const PERMISSIONS: &str = "/* tbtokend:key_permissions */ \
    SELECT CAST(grantee_principal_id AS int) AS grantee, CAST(state AS nvarchar(1)) AS state \
    FROM sys.database_permissions \
    WHERE (type = 'SL' OR type = 'CL') AND (class = 0 OR (class = 1 AND major_id = OBJECT_ID(@P1)) \
    OR (class = 3 AND major_id = SCHEMA_ID(OBJECT_SCHEMA_NAME(OBJECT_ID(@P1)))))";

/// Reads the members of each role.
pub(super) const MEMBERS: &str = "/* tbtokend:role_members */ \
    SELECT CAST(role_principal_id AS int) AS role, CAST(member_principal_id AS int) AS member \
    FROM sys.database_role_members";

/// Reads every user and role, with two flags: whether it is this login's user, and whether this login sees all permissions.
pub(super) const PRINCIPALS: &str = "/* tbtokend:principals */ \
    SELECT CAST(principal_id AS int) AS id, CAST(name AS nvarchar(128)) AS name, CAST(type AS nvarchar(1)) AS type, \
    CASE WHEN name = USER_NAME() THEN 1 ELSE 0 END AS own, \
    CAST(HAS_PERMS_BY_NAME(DB_NAME(), 'DATABASE', 'VIEW DEFINITION') AS int) AS sees_all \
    FROM sys.database_principals";

/// The role of all users. Its members are not listed.
const PUBLIC: i64 = 0;

/// The owner of the database, and the owners of the catalog. SQL Server refuses a DENY to them.
const FIXED_USERS: [&str; 3] = ["dbo", "INFORMATION_SCHEMA", "sys"];

/// The roles that may read every table without a permission on it.
const READING_ROLES: [&str; 2] = ["db_owner", "db_datareader"];

/// A user or a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Principal {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) is_role: bool,
    /// Whether it is the daemon's own user.
    pub(super) is_own: bool,
}

/// Returns the names of all readers of the key except the daemon's user and the owner. `permissions` holds grantees, and
/// whether they are denied; `members` holds pairs of role and member.
pub(super) fn find_other_readers(
    permissions: &[(i64, bool)],
    members: &[(i64, i64)],
    principals: &[Principal],
) -> Vec<String> {
    let listed = |denied| permissions.iter().filter(move |(_, is)| *is == denied).map(|(id, _)| *id);
    let by_role = principals.iter().filter(|one| one.is_role && READING_ROLES.contains(&one.name.as_str()));
    let readers = with_members(listed(false).chain(by_role.map(|role| role.id)).collect(), members);
    let denied = with_members(listed(true).collect(), members);
    if denied.contains(&PUBLIC) {
        return Vec::new();
    }
    let is_other = |one: &&Principal| {
        let counts = !one.is_role || one.id == PUBLIC;
        counts
            && !one.is_own
            && !FIXED_USERS.contains(&one.name.as_str())
            && readers.contains(&one.id)
            && !denied.contains(&one.id)
    };
    principals.iter().filter(is_other).map(|one| one.name.clone()).collect()
}

/// Adds the members of the roles among `ids`, and their members in turn.
fn with_members(mut ids: BTreeSet<i64>, members: &[(i64, i64)]) -> BTreeSet<i64> {
    loop {
        let more: Vec<i64> =
            members.iter().filter(|(role, _)| ids.contains(role)).map(|(_, member)| *member).collect();
        let before = ids.len();
        ids.extend(more);
        if ids.len() == before {
            return ids;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DBO: i64 = 1;
    const INFORMATION_SCHEMA: i64 = 3;
    const SYS: i64 = 4;

    fn principals() -> Vec<Principal> {
        let principal =
            |id, name: &str, is_role, is_own| Principal { id, name: name.to_owned(), is_role, is_own };
        vec![
            principal(PUBLIC, "public", true, false),
            principal(DBO, "dbo", false, false),
            principal(INFORMATION_SCHEMA, "INFORMATION_SCHEMA", false, false),
            principal(SYS, "sys", false, false),
            principal(11, "dbo", false, false),
            principal(5, "tbtokend", false, true),
            principal(6, "reports", false, false),
            principal(7, "analyst", false, false),
            principal(8, "analysts", true, false),
            principal(9, "applications", true, false),
            principal(16_384, "db_owner", true, false),
            principal(16_390, "db_datareader", true, false),
        ]
    }

    #[test]
    fn every_other_reader_is_named_whatever_its_permission_comes_from() {
        let others = |permissions: &[(i64, bool)], members: &[(i64, i64)]| {
            find_other_readers(permissions, members, &principals())
        };
        let grant = |id| (id, false);
        let deny = |id| (id, true);
        assert_eq!(others(&[grant(5)], &[(16_384, DBO)]), [""; 0], "the daemon's user and the owner");
        let fixed = [grant(DBO), grant(INFORMATION_SCHEMA), grant(SYS), grant(11)];
        assert_eq!(others(&fixed, &[]), [""; 0], "SQL Server refuses a DENY to them, whatever their id");
        assert_eq!(others(&[grant(6)], &[]), ["reports"]);
        assert_eq!(others(&[], &[(16_390, 6), (16_384, 7)]), ["reports", "analyst"]);
        assert_eq!(others(&[grant(9)], &[(9, 8), (8, 7)]), ["analyst"], "a role in a role");
        assert_eq!(others(&[grant(PUBLIC)], &[]), ["public"]);
        assert_eq!(others(&[grant(6), grant(9), deny(8)], &[(9, 8), (8, 7)]), ["reports"], "a denial wins");
        assert_eq!(others(&[grant(6), deny(PUBLIC)], &[]), [""; 0]);
        assert_eq!(others(&[], &[(8, 9), (9, 8)]), [""; 0]);
    }
}
