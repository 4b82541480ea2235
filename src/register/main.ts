/*
 * `node --import renegotiation-duplex/register`: guards node:tls for the whole process, with options from the
 * environment. Loading it again has no effect.
 */
import { isRegistered } from '../tls/plain.ts'
import { environment } from './late.ts'
import { register } from './register.ts'

if (!isRegistered()) {
  const isConfigured = Object.keys(process.env).some((name) => name.startsWith('RENEGOTIATION_'))
  register(isConfigured ? environment().optionsFrom(process.env) : undefined)
}
