// What actions/github-script gives a script: core, context and a client of the REST API. What is not here is refused.
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'

const environment = process.env
const write = (variable, text) => appendFileSync(environment[variable], text + '\n')
const escape = (text) => String(text).replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A')
const strict = (name, object) =>
  new Proxy(object, {
    get(target, key) {
      if (typeof key === 'symbol' || key in target || key === 'then') return target[key]
      throw new Error(`the stand-in for github-script has no ${name}.${key}`)
    },
  })

const core = strict('core', {
  info: (text) => console.log(text),
  debug: () => {},
  notice: (text) => console.log(`::notice::${escape(text)}`),
  warning: (text) => console.log(`::warning::${escape(text)}`),
  error: (text) => console.log(`::error::${escape(text)}`),
  setFailed(text) {
    process.exitCode = 1
    console.log(`::error::${escape(text)}`)
  },
  setOutput: (name, value) => write('GITHUB_OUTPUT', `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`),
  exportVariable: (name, value) => write('GITHUB_ENV', `${name}=${value}`),
})

async function request(route, parameters = {}) {
  let [method, path] = route.split(' ')
  const rest = { ...parameters }
  path = path.replaceAll(/\{(\w+)\}/g, (_, name) => {
    const value = rest[name]
    delete rest[name]
    return encodeURIComponent(value)
  })
  let body
  if (method === 'GET') path += Object.keys(rest).length ? `?${new URLSearchParams(rest)}` : ''
  else body = JSON.stringify(rest)
  const answer = await fetch(environment.GITHUB_API_URL + path, { method, body, headers: { authorization: `Bearer ${environment.SCRIPT_TOKEN}` } })
  const text = await answer.text()
  const data = text ? JSON.parse(text) : null
  if (!answer.ok) throw Object.assign(new Error(data?.message ?? text), { status: answer.status })
  return { data, status: answer.status }
}

const routes = {
  issues: {
    createComment: 'POST /repos/{owner}/{repo}/issues/{issue_number}/comments',
    listComments: 'GET /repos/{owner}/{repo}/issues/{issue_number}/comments',
    updateComment: 'PATCH /repos/{owner}/{repo}/issues/comments/{comment_id}',
  },
  actions: { listWorkflowRuns: 'GET /repos/{owner}/{repo}/actions/workflows/{workflow_id}/runs' },
  repos: { listPullRequestsAssociatedWithCommit: 'GET /repos/{owner}/{repo}/commits/{commit_sha}/pulls' },
}
const rest = strict(
  'github.rest',
  Object.fromEntries(
    Object.entries(routes).map(([group, methods]) => [
      group,
      strict(`github.rest.${group}`, Object.fromEntries(Object.entries(methods).map(([name, route]) => [name, (given) => request(route, given)]))),
    ]),
  ),
)
const github = strict('github', { request, rest, paginate: async (method, given) => (await method(given)).data })
const [owner, repo] = environment.GITHUB_REPOSITORY.split('/')
const payload = JSON.parse(readFileSync(environment.GITHUB_EVENT_PATH, 'utf8'))
const context = strict('context', {
  eventName: environment.GITHUB_EVENT_NAME,
  sha: environment.GITHUB_SHA,
  ref: environment.GITHUB_REF,
  runId: Number(environment.GITHUB_RUN_ID),
  payload,
  repo: { owner, repo },
  issue: { owner, repo, number: payload.number },
})

const AsyncFunction = Object.getPrototypeOf(async () => {}).constructor
try {
  const result = await new AsyncFunction('core', 'context', 'github', 'process', environment.SCRIPT)(core, context, github, process)
  writeFileSync(environment.SCRIPT_RESULT, JSON.stringify(result) ?? 'null')
} catch (error) {
  writeFileSync(environment.SCRIPT_RESULT, 'null')
  core.setFailed(`Unhandled error: ${error}`)
}
