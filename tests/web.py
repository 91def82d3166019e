"""The page of examples/web and its module in headless Chromium; test_web.sh runs this with pytest. From the environment:

WEB          the folder with the page, what build.sh made of it, reader.mjs, and the golden images in golden/
NEAREST      what ttembed nearest says of the word and the image that the page begins with
INFO         what ttembed info says of that image, in JSON
SCREENSHOT   where to write a picture of the page, if anywhere
"""
import functools
import http.server
import json
import os
import threading

import pytest
from axe_core_python.selenium import Axe
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

WEB = os.environ['WEB']
SIZES = {'phone': (390, 844), 'desktop': (1100, 900)}


class Handler(http.server.SimpleHTTPRequestHandler):
    """What python3 -m http.server does, silently."""

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope='session')
def address():
    handler = functools.partial(Handler, directory=WEB)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield 'http://127.0.0.1:%d/' % server.server_address[1]
        server.shutdown()


@pytest.fixture(scope='session')
def driver():
    options = webdriver.ChromeOptions()
    options.binary_location = os.environ.get('CHROMIUM', '/usr/bin/chromium')
    for argument in ('--headless=new', '--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu', '--hide-scrollbars',
                     '--force-device-scale-factor=1'):
        options.add_argument(argument)
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
    service = webdriver.ChromeService(os.environ.get('CHROMEDRIVER', '/usr/bin/chromedriver'))
    driver = webdriver.Chrome(options, service)
    driver.set_script_timeout(120)
    yield driver
    driver.quit()


class Page:
    def __init__(self, driver, address):
        self.driver = driver
        show(driver, 'desktop', 'light')
        driver.get(address)
        self.wait(lambda: driver.find_element(By.TAG_NAME, 'main').get_attribute('aria-busy') is None)

    def wait(self, condition):
        return WebDriverWait(self.driver, 60, 0.1).until(lambda _: condition())

    def at(self, name):
        return self.driver.find_element(By.ID, name)

    def text(self, name):
        return self.at(name).text

    def type(self, word):
        self.at('word').send_keys(Keys.CONTROL, 'a')
        self.at('word').send_keys(word)

    def results(self):
        """[(word, cosine)]"""
        rows = self.driver.find_elements(By.CSS_SELECTOR, '#results button')
        return [(row.get_attribute('value'), row.find_element(By.CSS_SELECTOR, '.cosine').text) for row in rows]


@pytest.fixture
def page(driver, address):
    page = Page(driver, address)
    yield page
    assert [line for line in driver.get_log('browser') if line['level'] == 'SEVERE'] == []


def show(driver, size, scheme):
    width, height = SIZES[size]
    driver.execute_cdp_cmd('Emulation.setDeviceMetricsOverride',
                           {'width': width, 'height': height, 'deviceScaleFactor': 1, 'mobile': size == 'phone'})
    driver.execute_cdp_cmd('Emulation.setEmulatedMedia', {'features': [{'name': 'prefers-color-scheme', 'value': scheme}]})


def run(page, script, *arguments):
    """What an async function of the module, the independent reader and the arguments returns, or the error's text."""
    return page.driver.execute_async_script('''
        const done = arguments[arguments.length - 1], base = location.href, given = [...arguments].slice(0, -1);
        Promise.all([import(base + 'tt_embed.mjs'), import(base + 'reader.mjs')])
            .then(([{open, TableError}, reader]) => (async (...given) => { %s })(...given))
            .then(done, error => done(error.name + ': ' + error.message));''' % script.replace('BYTES(', '''await (async path =>
                new Uint8Array(await (await fetch(base + path)).arrayBuffer()))('''), *arguments)


# ---- the module ---------------------------------------------------------------------------------------------------------

def images(folder):
    return sorted(folder + '/' + name for name in os.listdir(os.path.join(WEB, folder)) if name.endswith('.tte'))


@pytest.mark.parametrize('path', images('golden') + images('data'))
def test_rows_are_those_of_the_independent_reader(page, path):
    assert run(page, '''
        const bytes = BYTES(given[0]), table = await open(bytes), other = reader.open(bytes);
        if (table.vocab !== other.vocab || table.dim !== other.dim || table.bytes !== bytes.length) return 'sizes';
        const rows = table.rows(Uint32Array.from({length: table.vocab}, (_, i) => i));
        const single = table.vocab ? table.row(table.vocab - 1) : [];
        if (!single.every((x, j) => Object.is(x, rows.at(j - table.dim)))) return 'a row alone';
        return reader.differs(other, rows);''', path) == -1


def test_scores_and_the_best_of_them(page):
    assert run(page, '''
        const table = await open((BYTES('data/16.tte')).buffer), query = table.row(1234);
        const rows = table.rows(Uint32Array.from({length: table.vocab}, (_, i) => i)), scores = table.scores(query);
        const {ids, scores: best} = table.topK(Array.from(query), 100), length = Math.hypot(...query);
        let worst = 0;
        for (let i = 0; i < table.vocab; i++) {
            const row = rows.subarray(i * table.dim, (i + 1) * table.dim);
            const exact = row.reduce((sum, x, j) => sum + x * query[j], 0);
            worst = Math.max(worst, Math.abs(exact - scores[i]) / length / Math.hypot(...row));
        }
        const order = [...scores.keys()].sort((a, b) => scores[b] - scores[a] || a - b).slice(0, 100);
        return [worst < 3e-4, order.every((id, i) => id === ids[i] && scores[id] === best[i]), ids.length];
        ''') == [True, True, 100]


@pytest.mark.parametrize('script, says', [
    ("const bytes = BYTES('data/16.tte'); bytes[60000] ^= 1; await open(bytes);", 'TableError: checksum mismatch'),
    ("await open((BYTES('data/16.tte')).subarray(0, 5000));", 'TableError: the image is shorter'),
    ("await open(BYTES('data/table.json'));", 'TableError: not a .tte image'),
    ("await open(new ArrayBuffer(0));", 'TableError: the image is shorter'),
    ("await open('data/16.tte');", 'TypeError: open: expected an ArrayBuffer'),
    ("(await open(BYTES('data/16.tte'))).row(4096);", 'RangeError: row 4096: expected a whole number from 0 to 4095'),
    ("(await open(BYTES('data/16.tte'))).row(-1);", 'RangeError: row -1'),
    ("(await open(BYTES('data/16.tte'))).row(1.5);", 'RangeError: row 1.5'),
    ("(await open(BYTES('data/16.tte'))).topK(new Float32Array(127), 3);", 'RangeError: a vector of 127 numbers, expected 128'),
    ("(await open(BYTES('data/16.tte'))).topK(new Float32Array(128), 0);", 'RangeError: k = 0'),
    ("(await open(BYTES('data/16.tte'))).topK(new Float32Array(128), 4097);", 'RangeError: k = 4097'),
    ("(await open(BYTES('data/16.tte'))).topK(new Float32Array(128).fill(NaN), 3);", 'TableError: NaN or infinity'),
])
def test_refusals(page, script, says):
    assert run(page, script).startswith(says)


# ---- the page -----------------------------------------------------------------------------------------------------------

def test_begins_with_the_nearest_words_that_ttembed_finds(page):
    want = []
    with open(os.environ['NEAREST'], encoding='utf-8') as file:
        for line in file:
            _, word, cosine = line.split()
            if word.startswith('Ġ') and word[1:].isalpha():
                want.append((word[1:], float(cosine)))
    got = page.results()
    assert len(got) == 10 and page.text('nearest') == 'Nearest to “river”'
    for (word, cosine), (name, value) in zip(want, got):
        assert word == name and abs(cosine - float(value)) <= 0.0011
    with open(os.environ['INFO'], encoding='utf-8') as file:
        info = json.load(file)
    size = os.path.getsize(os.path.join(WEB, 'data', '16.tte'))
    assert 0.999 * 131072 <= size <= 131072 and size == info['bytes'] and 0.17 < info['rel_error'] < 0.18
    assert page.text('bytes') == f'{size:,} of 2,097,152' and page.text('times') == '16×'
    assert page.text('error') == f'{info["rel_error"]:.3f}'
    assert '4,096 rows of 128 numbers, in 5 sizes' in page.text('about') and page.text('time').endswith(' ms')


def test_words_while_one_types(page):
    page.type('mothe')
    page.wait(lambda: 'taken for “mother”' in page.text('found'))
    assert page.driver.find_element(By.CSS_SELECTOR, '#completions option').get_attribute('value') == 'mother'
    before = page.results()
    page.at('word').send_keys('r')
    assert page.text('found').startswith('Row ') and page.results() == before
    assert {'father', 'sister'} <= {word for word, _ in before}
    page.wait(lambda: page.at('live').get_attribute('textContent').startswith('Nearest to mother at 16 times smaller: '))
    page.type('xyzzy')
    assert page.text('found') == 'No word of the table begins with “xyzzy”.' and page.results() == []
    page.wait(lambda: 'xyzzy' in page.at('live').get_attribute('textContent'))
    page.type(Keys.DELETE)
    assert page.text('found') == 'Type a word of the table.' and page.results() == []
    page.type('Mother')
    assert page.text('nearest') == 'Nearest to “Mother”'


def test_ratios_by_the_keyboard(page):
    seen = []
    page.at('ratio').send_keys(Keys.HOME)
    for _ in range(5):
        row = page.driver.find_element(By.CSS_SELECTOR, '#rows tr[aria-current]').text.split()
        seen.append([float(page.text('error')), int(page.text('bytes').split()[0].replace(',', ''))])
        assert row[0] == page.text('times') and row[2] == page.text('error')
        assert page.at('ratio').get_attribute('aria-valuetext').startswith(page.text('times')[:-1] + ' times, ' + row[1] + ' bytes')
        if len(seen) == 1:
            assert 'is what the others are compared with' in page.text('agreement')
        else:
            assert page.text('agreement').endswith(' of 10 are also among the nearest at 4×.')
            new = len(page.driver.find_elements(By.CSS_SELECTOR, '#results .new'))
            assert page.text('agreement').startswith('%d of' % (10 - new))
        page.at('ratio').send_keys(Keys.ARROW_RIGHT)
    assert seen == sorted(seen, key=lambda pair: -pair[1]) == sorted(seen) and new > 0 and len({size for _, size in seen}) == 5


def test_a_result_is_the_next_word(page):
    word = page.results()[2][0]
    page.at('word').send_keys(Keys.TAB, Keys.TAB, Keys.TAB, Keys.TAB, Keys.ENTER)  # the slider, the third result
    assert page.at('word').get_attribute('value') == word and page.text('nearest') == 'Nearest to “%s”' % word
    assert page.driver.switch_to.active_element.get_attribute('id') == 'word'


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_accessible_and_within_the_screen(page, size, scheme):
    show(page.driver, size, scheme)
    back = page.driver.execute_script('return getComputedStyle(document.body).backgroundColor')
    assert (int(back.split('(')[1].split(',')[0]) > 128) == (scheme == 'light')
    assert page.driver.execute_script('return document.documentElement.scrollWidth') <= SIZES[size][0]
    found = Axe().run(page.driver)
    assert [(v['id'], [n['html'] for n in v['nodes']]) for v in found['violations']] == []
    assert 'color-contrast' in [rule['id'] for rule in found['passes']]
    assert page.at('word').accessible_name == 'Word' and page.at('ratio').accessible_name == 'How many times smaller'


def test_what_is_missing_is_said(driver, address):
    os.rename(os.path.join(WEB, 'data', '8.tte'), os.path.join(WEB, 'data', 'gone'))
    try:
        driver.get(address)
        WebDriverWait(driver, 60).until(lambda _: 'cannot be shown' in driver.find_element(By.ID, 'about').text)
        assert driver.find_element(By.ID, 'about').text == 'The table cannot be shown: data/8.tte: 404 File not found'
        assert not driver.find_element(By.ID, 'word').is_enabled()
    finally:
        os.rename(os.path.join(WEB, 'data', 'gone'), os.path.join(WEB, 'data', '8.tte'))
        driver.get_log('browser')


def test_all_it_asks_for_is_its_own(page, address):
    asked = page.driver.execute_script('return performance.getEntriesByType("resource").map(entry => entry.name)')
    assert len(asked) >= 10 and all(name.startswith(address) for name in asked)


@pytest.mark.skipif('SCREENSHOT' not in os.environ, reason='no picture is asked for')
def test_screenshot(page):
    page.driver.execute_cdp_cmd('Emulation.setDeviceMetricsOverride',
                                {'width': 800, 'height': 612, 'deviceScaleFactor': 1, 'mobile': False})
    page.driver.execute_script('document.activeElement.blur()')
    assert page.driver.save_screenshot(os.environ['SCREENSHOT'])
