import { testStack } from '../../fixtures/stack-tests.ts'

testStack('java')
