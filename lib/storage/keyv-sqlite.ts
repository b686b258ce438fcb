// The only import of @keyv/sqlite. The build inlines it here: its dependency better-sqlite3, a native
// add-on, is never used and need not be installed.
export { KeyvSqlite } from '@keyv/sqlite'
