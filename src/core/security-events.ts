/** Interim: replaced by the security branch. */
export interface SecurityEvent {
  name: string
  severity: string
  code?: string
  message: string
}
export function publishSecurityEvent(_event: SecurityEvent): void {}
