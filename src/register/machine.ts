/*
 * What guard.ts needs for connections. late.ts loads it with the first of them.
 */
export { connectGuarded } from '../tls/connect.ts'
export { ServerStreams } from '../tls/server-streams.ts'
export { ownTicketKeys } from '../transports/full-handshake.ts'
export { watch } from './watch.ts'
